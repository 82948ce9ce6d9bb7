/*
 * source.c: windows over a file; see source.h for the contract.
 *
 * Purpose.    A typical ELF file is looked at in two or three places: header and program headers at the
 *             front, the dynamic section and Go build info in the data segment, section headers at the
 *             end. Four windows hold all of them, so each costs one pread(2).
 * Ownership.  Nothing is allocated.
 * Threads.    None of its own.
 */
#include "source.h"

#include <errno.h>
#include <string.h>

void bm_source_open(bm_source *source, uint64_t size, bm_read_at read_at, void *context, uint8_t *buffer)
{
    memset(source, 0, sizeof *source);
    source->size = size;
    source->read_at = read_at;
    source->context = context;
    source->buffer = buffer;
}

void bm_source_open_memory(bm_source *source, const uint8_t *data, size_t length)
{
    memset(source, 0, sizeof *source);
    source->size = length;
    source->current.bytes = data;
    source->current.length = length;
}

static bool fail(bm_source *source, int error, uint64_t offset)
{
    if (!source->error) {
        source->error = error;
        source->error_offset = offset;
    }
    memset(&source->current, 0, sizeof source->current);
    memset(source->windows, 0, sizeof source->windows);
    return false;
}

/* Exactly `length` bytes, or a sticky error: the range was inside the file when it was opened. */
static bool read_fully(bm_source *source, uint64_t offset, uint8_t *destination, size_t length)
{
    while (length > 0) {
        int64_t got = source->read_at(source->context, offset, destination, length);
        if (got == -EINTR)
            continue;
        if (got <= 0 || (uint64_t)got > length)
            return fail(source, got == 0 ? BM_SOURCE_SHRANK : got < 0 ? (int)-got : EIO, offset);
        source->reads++;
        offset += (uint64_t)got;
        destination += got;
        length -= (size_t)got;
    }
    return true;
}

static bool find_window(bm_source *source, uint64_t offset, size_t length)
{
    for (unsigned i = 0; i < BM_WINDOWS; i++) {
        const bm_window *window = &source->windows[i];
        if (offset >= window->offset && bm_within(offset - window->offset, length, window->length)) {
            source->current = *window;
            return true;
        }
    }
    return false;
}

/*
 * The window that would cover the range. Near the end of the file it is moved back, so that tables
 * before the one asked for are likely to be in it as well.
 */
static bool fill_window(bm_source *source, uint64_t offset)
{
    uint64_t start = offset & ~(uint64_t)511;
    if (source->size - start < BM_WINDOW_BYTES)
        start = source->size > BM_WINDOW_BYTES ? source->size - BM_WINDOW_BYTES : 0;
    uint64_t left = source->size - start;
    unsigned slot = source->next++ % BM_WINDOWS;
    bm_window *window = &source->windows[slot];
    uint8_t *bytes = source->buffer + (size_t)slot * BM_WINDOW_BYTES;
    size_t length = left < BM_WINDOW_BYTES ? (size_t)left : BM_WINDOW_BYTES;
    window->length = 0;
    source->current.length = 0;
    if (!read_fully(source, start, bytes, length))
        return false;
    *window = (bm_window){bytes, start, length};
    source->current = *window;
    return true;
}

const uint8_t *bm_source_seek(bm_source *source, uint64_t offset, size_t length)
{
    if (source->error || !bm_within(offset, length, source->size))
        return NULL;
    if (!source->read_at || length > BM_VIEW_MOST)
        return NULL;
    if (!find_window(source, offset, length) && !fill_window(source, offset))
        return NULL;
    return source->current.bytes + (offset - source->current.offset);
}

bool bm_source_copy(bm_source *source, uint64_t offset, uint8_t *destination, size_t length)
{
    if (source->error || !bm_within(offset, length, source->size))
        return false;
    if (source->read_at && length > BM_VIEW_MOST)
        return read_fully(source, offset, destination, length);
    const uint8_t *bytes = bm_view(source, offset, length);
    if (bytes && length)
        memcpy(destination, bytes, length);
    return bytes != NULL;
}

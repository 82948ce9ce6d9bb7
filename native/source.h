/*
 * source.h: the bytes of one file behind one checked access.
 *
 * Purpose.    The readers ask for a range and get a pointer or NULL; whether the bytes lie in memory or
 *             behind pread(2) is settled here. A file is never mapped: one that is truncated during the
 *             scan would raise SIGBUS.
 * Ownership.  A source borrows its memory, its descriptor (through `context`) and its window buffer.
 *             A pointer from bm_view is valid until the next call on the same source.
 * Threads.    One source belongs to one thread.
 * Errors.     A failed read is sticky: `error` keeps the errno (or BM_SOURCE_SHRANK) and every later
 *             access returns NULL at once, so a reader needs to look only when it is done.
 */
#ifndef BM_SOURCE_H
#define BM_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BM_WINDOWS 4
#define BM_WINDOW_BYTES 16384
#define BM_SOURCE_BUFFER (BM_WINDOWS * BM_WINDOW_BYTES)
#define BM_VIEW_MOST 8192 /* the longest range that bm_view gives from a descriptor */
#define BM_SOURCE_SHRANK (-1)

/*
 * Reads up to `length` bytes at `offset`. Returns how many were read, 0 at the end of the file, or a
 * negated errno. Fewer than asked for, and -EINTR, are allowed: the source asks again.
 */
typedef int64_t (*bm_read_at)(void *context, uint64_t offset, uint8_t *destination, size_t length);

typedef struct {
    const uint8_t *bytes;
    uint64_t offset;
    size_t length;
} bm_window;

typedef struct {
    bm_window current; /* the window that answered last; for memory, everything */
    uint64_t size;
    bm_read_at read_at; /* NULL for memory */
    void *context;
    uint8_t *buffer; /* BM_SOURCE_BUFFER bytes */
    bm_window windows[BM_WINDOWS];
    unsigned next; /* the window to be replaced next */
    int error;     /* 0, an errno, or BM_SOURCE_SHRANK */
    uint64_t error_offset;
    uint64_t reads; /* calls of read_at that returned bytes */
} bm_source;

/* `size` is what the file had when it was opened; `buffer` holds BM_SOURCE_BUFFER bytes. */
void bm_source_open(bm_source *source, uint64_t size, bm_read_at read_at, void *context, uint8_t *buffer);
void bm_source_open_memory(bm_source *source, const uint8_t *data, size_t length);

/* The slow path of bm_view. */
const uint8_t *bm_source_seek(bm_source *source, uint64_t offset, size_t length);

/* Copies a range of any length; false where it is not in the file or could not be read. */
bool bm_source_copy(bm_source *source, uint64_t offset, uint8_t *destination, size_t length);

static inline bool bm_within(uint64_t offset, uint64_t length, uint64_t size)
{
    return length <= size && offset <= size - length;
}

/* `length` bytes at `offset`, at most BM_VIEW_MOST; NULL where they are not in the file or unreadable. */
static inline const uint8_t *bm_view(bm_source *source, uint64_t offset, size_t length)
{
    const bm_window *window = &source->current;
    if (offset >= window->offset && bm_within(offset - window->offset, length, window->length))
        return window->bytes + (offset - window->offset);
    return bm_source_seek(source, offset, length);
}

#endif

/*
 * gobuildinfo.c: finds and decodes the blob that cmd/link puts into every Go binary.
 *
 * Purpose.    The version of Go and the module text, by which a binary's real GOARCH, flags and
 *             dependencies are known, stripped or not (Go debug/buildinfo, cmd/link/internal/ld/data.go).
 * Layout.     32 bytes, 16-aligned: magic, pointer size, flags. With flag 2 (Go 1.18 and later) version and
 *             text follow inline, each after its length as a uvarint; without it, two pointers to Go
 *             strings follow, big-endian with flag 1.
 * Ownership.  Strings are copied into the arena; the text loses the 16-byte marks on both its sides.
 * Threads.    None of its own.
 */
#include "gobuildinfo.h"

#include "load.h"

#include <string.h>

#define MAGIC "\xff Go buildinf:"
enum { MAGIC_SIZE = 14, HEADER_SIZE = 32, ALIGN = 16, MARK = 16, BIG_ENDIAN_FLAG = 1, INLINE_FLAG = 2, TRIES = 64 };

/* A string in the file; its size is 0 where there is none. */
typedef struct {
    uint64_t offset, size;
} span;

/* The offset of the first aligned magic at or after `start` within the place, or its size. */
static uint64_t find_magic(bm_reader *reader, bm_go_place place, uint64_t start)
{
    while (bm_within(start, HEADER_SIZE, place.size)) {
        uint64_t left = place.size - start;
        size_t length = left < BM_VIEW_MOST ? (size_t)left : BM_VIEW_MOST;
        const uint8_t *bytes = bm_view(reader->source, place.offset + start, length);
        if (!bytes)
            return place.size;
        size_t at = 0;
        for (; length - at >= HEADER_SIZE; at += ALIGN)
            if (bytes[at] == 0xff && memcmp(bytes + at, MAGIC, MAGIC_SIZE) == 0)
                return start + at;
        start += at;
    }
    return place.size;
}

/* A length as a uvarint at *offset, which moves behind it; false where it does not end in time. */
static bool read_length(bm_reader *reader, uint64_t *offset, uint64_t end, uint64_t *length)
{
    *length = 0;
    for (unsigned shift = 0; shift < 63 && *offset < end; shift += 7) {
        const uint8_t *byte = bm_view(reader->source, (*offset)++, 1);
        if (!byte)
            return false;
        *length |= (uint64_t)(*byte & 0x7f) << shift;
        if (!(*byte & 0x80))
            return *length <= end - *offset;
    }
    return false;
}

static bool read_inline(bm_reader *reader, uint64_t offset, uint64_t end, span *version, span *text)
{
    if (!read_length(reader, &offset, end, &version->size))
        return false;
    version->offset = offset;
    offset += version->size;
    if (!read_length(reader, &offset, end, &text->size))
        return false;
    text->offset = offset;
    return true;
}

/* The Go string whose header (address, length) lies at `address`. */
static bool read_string(bm_reader *reader, bm_address_map map, uint64_t address, uint8_t word, bool big, span *result)
{
    uint64_t at, available;
    if (!map.locate(map.image, address, &at, &available) || available < 2u * word)
        return false;
    const uint8_t *header = bm_view(reader->source, at, 2u * word);
    if (!header)
        return false;
    uint64_t data = bm_load_word(header, word == 8, big);
    result->size = bm_load_word(header + word, word == 8, big);
    if (!result->size)
        return true;
    return map.locate(map.image, data, &result->offset, &available) && result->size <= available;
}

static bool read_pointers(bm_reader *reader, bm_address_map map, const uint8_t *header, span *version, span *text)
{
    uint8_t word = header[MAGIC_SIZE];
    bool big = (header[MAGIC_SIZE + 1] & BIG_ENDIAN_FLAG) != 0;
    if (word != 4 && word != 8)
        return false;
    uint64_t first = bm_load_word(header + 16, word == 8, big);
    uint64_t second = bm_load_word(header + 16 + word, word == 8, big);
    if (!read_string(reader, map, first, word, big, version))
        return false;
    return read_string(reader, map, second, word, big, text) || !second;
}

/* Strips the marks: without both, and a newline before the second, there is no text (Go ignores it too). */
static void strip_marks(bm_reader *reader, span *text)
{
    uint64_t size = text->size;
    text->size = 0;
    if (size < 2 * MARK + 1)
        return;
    const uint8_t *last = bm_view(reader->source, text->offset + size - MARK - 1, 1);
    if (!last || *last != '\n')
        return;
    text->offset += MARK;
    text->size = size - 2 * MARK;
}

static bm_str keep(bm_reader *reader, span found, uint32_t most)
{
    if (found.size > most) {
        bm_reader_issue(reader, BM_ISSUE_CAPPED, found.offset, found.size);
        found.size = most;
    }
    return bm_reader_keep(reader, found.offset, found.size);
}

static bool decode(bm_reader *reader, bm_address_map map, bm_go_place place, uint64_t at, bm_go_info *info)
{
    uint8_t header[HEADER_SIZE];
    span version = {0}, text = {0};
    uint64_t offset = place.offset + at, available = place.size - at, mapped;
    if (!bm_source_copy(reader->source, offset, header, sizeof header))
        return false;
    bool inlined = (header[MAGIC_SIZE + 1] & INLINE_FLAG) != 0;
    /* The strings may go on behind the section, as far as the segment goes. */
    if (map.locate(map.image, place.address + at, &mapped, &available) && mapped != offset)
        available = place.size - at;
    bool found = inlined ? read_inline(reader, offset + HEADER_SIZE, offset + available, &version, &text)
                         : read_pointers(reader, map, header, &version, &text);
    if (!found || !version.size)
        return false;
    strip_marks(reader, &text);
    info->format = inlined ? 2 : 1;
    info->version = keep(reader, version, BM_MAX_GO_VERSION);
    info->modinfo = keep(reader, text, BM_MAX_MODINFO);
    return true;
}

bool bm_go_read(bm_reader *reader, bm_address_map map, bm_go_place place, bm_go_info *info)
{
    uint64_t size = reader->source->size, unaligned = (0 - place.address) & (ALIGN - 1), bad = 0;
    *info = (bm_go_info){0, {BM_NONE, 0}, {BM_NONE, 0}};
    if (place.offset >= size)
        return false;
    place.size = place.size < size - place.offset ? place.size : size - place.offset;
    uint64_t at = find_magic(reader, place, unaligned);
    for (int tries = 0; at < place.size && tries < TRIES; tries++) {
        if (decode(reader, map, place, at, info))
            return true;
        bad = bad ? bad : place.offset + at;
        at = find_magic(reader, place, at + ALIGN);
    }
    if (bad)
        bm_reader_issue(reader, BM_ISSUE_BAD_BUILDINFO, bad, 0);
    return false;
}

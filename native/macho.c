/*
 * macho.c: macOS executables, thin and fat: CPU type, file type, Go build information.
 *
 * Purpose.    Enough to see that an artifact, or each slice of it, is for the machine it claims, and which
 *             Go made it (mach-o/loader.h, mach-o/fat.h; Go debug/buildinfo, machoExe).
 * Ownership.  Borrows the reader; nothing is kept but slices and Go strings.
 * Threads.    None of its own.
 */
#include "gobuildinfo.h"
#include "load.h"

#include <string.h>

enum { LC_SEGMENT = 1, LC_SEGMENT_64 = 0x19, READ_WRITE = 3 };

/* One thin image: a whole file or a slice of one. Offsets inside it are relative to `base`. */
typedef struct {
    bm_reader *reader;
    uint64_t base, size;
    bool wide, big;
    uint32_t cputype, cpusubtype, filetype, commands, flags;
    uint64_t commands_size;
} image;

typedef struct {
    uint64_t address, offset, size;
    uint32_t max_protection, protection, sections;
    uint64_t at, end; /* the load command, in the image */
} segment;

typedef struct {
    uint64_t at;
    uint32_t index;
} cursor;

static const uint8_t *view(const image *macho, uint64_t offset, size_t length)
{
    return bm_within(offset, length, macho->size) ? bm_view(macho->reader->source, macho->base + offset, length) : NULL;
}

static uint64_t header_size(const image *macho)
{
    return macho->wide ? 32 : 28;
}

static bool read_header(image *macho)
{
    const uint8_t *p = view(macho, 0, 28);
    uint32_t magic = p ? bm_load32(p, true) : 0;
    macho->big = magic == 0xfeedface || magic == 0xfeedfacf;
    macho->wide = magic == 0xfeedfacf || magic == 0xcffaedfe;
    if (!macho->big && magic != 0xcefaedfe && magic != 0xcffaedfe)
        return false;
    macho->cputype = bm_load32(p + 4, macho->big);
    macho->cpusubtype = bm_load32(p + 8, macho->big);
    macho->filetype = bm_load32(p + 12, macho->big);
    macho->commands = bm_load32(p + 16, macho->big);
    macho->commands_size = bm_load32(p + 20, macho->big);
    macho->flags = bm_load32(p + 24, macho->big);
    return true;
}

/* Load commands must lie in the image; their count is bounded apart from that. */
static void check_commands(image *macho)
{
    if (!bm_within(header_size(macho), macho->commands_size, macho->size)) {
        bm_reader_issue(macho->reader, BM_ISSUE_BAD_MACHO, macho->base + 20, macho->commands_size);
        macho->commands = 0;
    }
    if (macho->commands > BM_MAX_LOAD_COMMANDS) {
        bm_reader_issue(macho->reader, BM_ISSUE_CAPPED, macho->base + 16, macho->commands);
        macho->commands = BM_MAX_LOAD_COMMANDS;
    }
}

static segment decode_segment(const image *macho, const uint8_t *p, uint64_t at, uint32_t size)
{
    bool wide = macho->wide, big = macho->big;
    uint32_t word = wide ? 8 : 4;
    const uint8_t *rest = p + 24 + 4 * word;
    return (segment){.address = bm_load_word(p + 24, wide, big),
                     .offset = bm_load_word(p + 24 + 2 * word, wide, big),
                     .size = bm_load_word(p + 24 + 3 * word, wide, big),
                     .max_protection = bm_load32(rest, big),
                     .protection = bm_load32(rest + 4, big),
                     .sections = bm_load32(rest + 8, big),
                     .at = at,
                     .end = at + size};
}

/* The next segment command; false after the last one, or where a command does not fit. */
static bool next_segment(const image *macho, cursor *place, segment *found)
{
    uint64_t end = header_size(macho) + macho->commands_size;
    uint32_t wanted = macho->wide ? LC_SEGMENT_64 : LC_SEGMENT, need = macho->wide ? 72 : 56;
    if (!place->at)
        place->at = header_size(macho);
    while (place->index < macho->commands) {
        const uint8_t *p = bm_within(place->at, 8, end) ? view(macho, place->at, 8) : NULL;
        uint32_t kind = p ? bm_load32(p, macho->big) : 0, size = p ? bm_load32(p + 4, macho->big) : 0;
        if (size < 8 || !bm_within(place->at, size, end) || (kind == wanted && size < need)) {
            bm_reader_issue(macho->reader, BM_ISSUE_BAD_MACHO, macho->base + place->at, size);
            return false;
        }
        uint64_t at = place->at;
        place->at += size;
        place->index++;
        p = kind == wanted ? view(macho, at, need) : NULL;
        if (p) {
            *found = decode_segment(macho, p, at, size);
            return true;
        }
    }
    return false;
}

static bool locate(void *context, uint64_t address, uint64_t *offset, uint64_t *available)
{
    const image *macho = context;
    cursor place = {0};
    segment found;
    while (next_segment(macho, &place, &found)) {
        uint64_t inside = address - found.address;
        if (inside >= found.size || !bm_within(found.offset, inside + 1, macho->size))
            continue;
        uint64_t left = macho->size - found.offset - inside;
        *offset = macho->base + found.offset + inside;
        *available = found.size - inside < left ? found.size - inside : left;
        return true;
    }
    return false;
}

static bool section_named(const image *macho, const segment *in, const char *name, bm_go_place *place)
{
    uint64_t size = macho->wide ? 80 : 68, at = in->at + (macho->wide ? 72 : 56);
    for (uint32_t i = 0; i < in->sections && bm_within(at, size, in->end); i++, at += size) {
        const uint8_t *p = view(macho, at, (size_t)size);
        if (!p)
            return false;
        if (memcmp(p, name, strlen(name) + 1) != 0)
            continue;
        uint32_t word = macho->wide ? 8 : 4;
        uint32_t offset = bm_load32(p + 32 + 2 * word, macho->big);
        *place = (bm_go_place){macho->base + offset, bm_load_word(p + 32 + word, macho->wide, macho->big),
                               bm_load_word(p + 32, macho->wide, macho->big)};
        return offset < macho->size;
    }
    return false;
}

/* The section that Go names for it, else the first writable segment that has bytes, as Go does. */
static bool go_place(const image *macho, bm_go_place *place)
{
    cursor at = {0};
    segment found;
    while (next_segment(macho, &at, &found))
        if (section_named(macho, &found, "__go_buildinfo", place))
            return true;
    at = (cursor){0};
    while (next_segment(macho, &at, &found)) {
        bool writable = found.protection == READ_WRITE && found.max_protection == READ_WRITE;
        if (!found.address || !found.size || !writable || found.offset >= macho->size)
            continue;
        *place = (bm_go_place){macho->base + found.offset, found.size, found.address};
        return true;
    }
    return false;
}

/* Segments past the end of the image; the end of what they describe is returned, saturating. */
static uint64_t check_segments(const image *macho)
{
    uint64_t last = header_size(macho) + macho->commands_size;
    cursor place = {0};
    segment found;
    while (next_segment(macho, &place, &found)) {
        uint64_t end = found.size > UINT64_MAX - found.offset ? UINT64_MAX : found.offset + found.size;
        last = end > last ? end : last;
        if (!bm_within(found.offset, found.size, macho->size))
            bm_reader_issue(macho->reader, BM_ISSUE_SEGMENT_PAST_EOF, macho->base + found.at, place.index);
    }
    return last;
}

static bool read_go(image *macho, bm_go_info *info)
{
    bm_go_place place;
    *info = (bm_go_info){0, {BM_NONE, 0}, {BM_NONE, 0}};
    if (!go_place(macho, &place))
        return false;
    uint64_t left = macho->base + macho->size - place.offset;
    place.size = place.size < left ? place.size : left;
    return bm_go_read(macho->reader, (bm_address_map){locate, macho}, place, info);
}

bool bm_read_macho(bm_reader *reader)
{
    bm_facts *facts = &reader->facts;
    bm_go_info info;
    image macho = {.reader = reader, .size = reader->source->size};
    if (!read_header(&macho)) {
        bm_reader_issue(reader, BM_ISSUE_SHORT_HEADER, 0, 28);
        return true;
    }
    facts->macho_cputype = macho.cputype;
    facts->macho_cpusubtype = macho.cpusubtype;
    facts->macho_filetype = macho.filetype;
    facts->flags = macho.flags;
    facts->read_class = macho.wide ? 2 : 1;
    facts->read_data = macho.big ? 2 : 1;
    check_commands(&macho);
    facts->described_end = check_segments(&macho);
    facts->truncated = facts->described_end > reader->source->size;
    if (read_go(&macho, &info)) {
        facts->go_format = info.format;
        facts->go_version = info.version;
        facts->go_modinfo = info.modinfo;
    }
    return true;
}

/* A slice that is no Mach-O (an archive, in a fat static library) has a range and nothing else. */
static void read_slice(bm_reader *reader, bm_fat_arch *slice, uint64_t at)
{
    bm_go_info info;
    slice->go_version = slice->go_modinfo = (bm_str){BM_NONE, 0};
    if (!bm_within(slice->offset, slice->size, reader->source->size)) {
        bm_reader_issue(reader, BM_ISSUE_BAD_MACHO, at, slice->size);
        return;
    }
    image macho = {.reader = reader, .base = slice->offset, .size = slice->size};
    if (!read_header(&macho))
        return;
    if (macho.cputype != slice->cputype)
        bm_reader_issue(reader, BM_ISSUE_BAD_MACHO, at, macho.cputype);
    check_commands(&macho);
    check_segments(&macho);
    if (read_go(&macho, &info)) {
        slice->go_version = info.version;
        slice->go_modinfo = info.modinfo;
    }
}

static void read_slices(bm_reader *reader, uint32_t count, uint32_t entry)
{
    uint32_t start;
    if (!bm_reader_reserve(reader, count * sizeof(bm_fat_arch), &start))
        return;
    reader->facts.fat = (bm_list){start, count};
    for (uint32_t i = 0; i < count && !bm_reader_stopped(reader); i++) {
        uint64_t at = 8 + (uint64_t)i * entry;
        bm_fat_arch slice = {.go_version = {BM_NONE, 0}, .go_modinfo = {BM_NONE, 0}};
        const uint8_t *p = bm_view(reader->source, at, entry);
        if (p) {
            slice.cputype = bm_load32(p, true);
            slice.cpusubtype = bm_load32(p + 4, true);
            slice.offset = entry == 32 ? bm_load64(p + 8, true) : bm_load32(p + 8, true);
            slice.size = entry == 32 ? bm_load64(p + 16, true) : bm_load32(p + 12, true);
            read_slice(reader, &slice, at);
        } else {
            bm_reader_issue(reader, BM_ISSUE_SHORT_HEADER, at, entry);
        }
        *((bm_fat_arch *)bm_arena_at(reader->arena, start) + i) = slice;
    }
}

/* Java class files share the magic; the word that counts slices is their version, which is above 42. */
bool bm_read_macho_fat(bm_reader *reader)
{
    const uint8_t *p = bm_view(reader->source, 0, 8);
    if (!p) {
        bm_reader_issue(reader, BM_ISSUE_SHORT_HEADER, 0, 8);
        return true;
    }
    uint32_t count = bm_load32(p + 4, true);
    if (count == 0 || count > BM_MAX_FAT)
        return false;
    read_slices(reader, count, bm_load32(p, true) == 0xcafebabf ? 32 : 20);
    return true;
}

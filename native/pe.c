/*
 * pe.c: Windows executables: machine, subsystem, Go build information.
 *
 * Purpose.    Enough to see that an artifact is for the machine it claims, and which Go made it
 *             (Microsoft PE format; Go debug/buildinfo, peExe).
 * Ownership.  Borrows the reader; nothing is kept but the Go strings.
 * Threads.    None of its own.
 */
#include "gobuildinfo.h"
#include "load.h"

#include <string.h>

#define INITIALIZED_DATA 0x00000040u
#define ALIGN_32BYTES 0x00600000u
#define MEM_READ 0x40000000u
#define MEM_WRITE 0x80000000u

typedef struct {
    bm_reader *reader;
    uint64_t image_base;
    uint64_t table; /* section headers, in the file */
    uint32_t sections;
} image;

typedef struct {
    uint64_t address, offset, size;
    uint32_t characteristics;
} section;

static bool section_at(image *pe, uint32_t index, section *result)
{
    const uint8_t *p = bm_view(pe->reader->source, pe->table + 40 * (uint64_t)index, 40);
    if (p)
        *result = (section){bm_load32(p + 12, false), bm_load32(p + 20, false), bm_load32(p + 16, false),
                            bm_load32(p + 36, false)};
    return p != NULL;
}

static bool locate(void *context, uint64_t address, uint64_t *offset, uint64_t *available)
{
    image *pe = context;
    uint64_t file = pe->reader->source->size;
    section found;
    for (uint32_t i = 0; i < pe->sections && section_at(pe, i, &found); i++) {
        uint64_t inside = address - pe->image_base - found.address;
        if (inside >= found.size || !bm_within(found.offset, inside + 1, file))
            continue;
        *offset = found.offset + inside;
        *available = found.size - inside < file - *offset ? found.size - inside : file - *offset;
        return true;
    }
    return false;
}

/* Go looks into the first writable section of initialized data. */
static void read_go(image *pe)
{
    bm_go_info info;
    section found;
    for (uint32_t i = 0; i < pe->sections && section_at(pe, i, &found); i++) {
        uint32_t kind = found.characteristics & ~ALIGN_32BYTES;
        if (!found.address || !found.size || kind != (INITIALIZED_DATA | MEM_READ | MEM_WRITE))
            continue;
        bm_go_place place = {found.offset, found.size, pe->image_base + found.address};
        if (bm_go_read(pe->reader, (bm_address_map){locate, pe}, place, &info)) {
            pe->reader->facts.go_format = info.format;
            pe->reader->facts.go_version = info.version;
            pe->reader->facts.go_modinfo = info.modinfo;
        }
        return;
    }
}

static void check_sections(image *pe)
{
    bm_facts *facts = &pe->reader->facts;
    section found;
    for (uint32_t i = 0; i < pe->sections && section_at(pe, i, &found); i++) {
        if (found.size && found.offset + found.size > facts->described_end)
            facts->described_end = found.offset + found.size;
        if (!bm_within(found.offset, found.size, pe->reader->source->size))
            bm_reader_issue(pe->reader, BM_ISSUE_SEGMENT_PAST_EOF, pe->table + 40 * (uint64_t)i, i);
    }
    facts->truncated = facts->described_end > pe->reader->source->size;
}

/* The COFF header: machine, sections, characteristics; returns the size of the optional header. */
static uint32_t read_coff(image *pe, const uint8_t *coff)
{
    bm_facts *facts = &pe->reader->facts;
    facts->machine = facts->machine_le = bm_load16(coff, false);
    facts->machine_be = bm_load16(coff, true);
    facts->pe_characteristics = bm_load16(coff + 18, false);
    pe->sections = bm_load16(coff + 2, false);
    return bm_load16(coff + 16, false);
}

/* The optional header, which every image has: class, entry, base, subsystem. */
static bool read_optional(image *pe, uint64_t at, uint32_t size)
{
    bm_facts *facts = &pe->reader->facts;
    const uint8_t *p = size >= 72 ? bm_view(pe->reader->source, at, 72) : NULL;
    uint16_t magic = p ? bm_load16(p, false) : 0;
    if (magic != 0x10b && magic != 0x20b)
        return false;
    facts->read_class = magic == 0x20b ? 2 : 1;
    facts->read_data = 1;
    facts->entry = bm_load32(p + 16, false);
    facts->pe_subsystem = bm_load16(p + 68, false);
    pe->image_base = magic == 0x20b ? bm_load64(p + 24, false) : bm_load32(p + 28, false);
    return true;
}

static void read_image(bm_reader *reader, uint64_t at)
{
    image pe = {.reader = reader};
    const uint8_t *coff = bm_view(reader->source, at + 4, 20);
    if (!coff) {
        bm_reader_issue(reader, BM_ISSUE_SHORT_HEADER, at, 24);
        return;
    }
    uint32_t optional = read_coff(&pe, coff);
    if (!read_optional(&pe, at + 24, optional)) {
        bm_reader_issue(reader, BM_ISSUE_BAD_PE, at + 24, optional);
        return;
    }
    pe.table = at + 24 + optional;
    reader->facts.described_end = pe.table + 40 * (uint64_t)pe.sections;
    if (pe.sections > BM_MAX_PE_SECTIONS) {
        bm_reader_issue(reader, BM_ISSUE_CAPPED, at + 6, pe.sections);
        pe.sections = BM_MAX_PE_SECTIONS;
    }
    if (!bm_within(pe.table, 40 * (uint64_t)pe.sections, reader->source->size)) {
        bm_reader_issue(reader, BM_ISSUE_BAD_PE, pe.table, pe.sections);
        pe.sections = 0;
    }
    check_sections(&pe);
    read_go(&pe);
}

/* A file that starts with MZ but leads to no PE signature is a DOS program, or chance. */
bool bm_read_pe(bm_reader *reader)
{
    const uint8_t *pointer = bm_view(reader->source, 0x3c, 4);
    if (!pointer)
        return false;
    uint32_t at = bm_load32(pointer, false);
    const uint8_t *signature = bm_view(reader->source, at, 4);
    if (!signature || memcmp(signature, "PE\0\0", 4) != 0)
        return false;
    read_image(reader, at);
    return true;
}

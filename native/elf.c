/*
 * elf.c: the ELF header, and the order in which the parts of the file are read.
 *
 * Purpose.    Facts by the specification's view, or by a kernel's, which forces class and byte order.
 *             Segments decide; section headers only add (gABI chapter 5, Linux fs/binfmt_elf.c).
 * Ownership.  Borrows the reader.
 * Threads.    None of its own.
 */
#include "elf.h"

#include <string.h>

void bm_elf_describe(bm_elf *elf, uint64_t offset, uint64_t size)
{
    uint64_t end = size > UINT64_MAX - offset ? UINT64_MAX : offset + size;
    if (size && end > elf->facts->described_end)
        elf->facts->described_end = end;
}

/* The class whose header sizes the file has, in either byte order: 1, 2, or 0 for neither. */
static uint8_t class_by_layout(const uint8_t *header, size_t length)
{
    for (int big = 0; big < 2; big++) {
        if (length >= 44 && bm_load16(header + 40, big) == 52) {
            uint16_t entry = bm_load16(header + 42, big);
            if (entry == 32 || entry == 0)
                return 1;
        }
        if (length >= 56 && bm_load16(header + 52, big) == 64) {
            uint16_t entry = bm_load16(header + 54, big);
            if (entry == 56 || entry == 0)
                return 2;
        }
    }
    return 0;
}

static void read_ident(bm_elf *elf, const uint8_t *ident, size_t length)
{
    bm_facts *facts = elf->facts;
    facts->elf_class = ident[EI_CLASS];
    facts->elf_data = ident[EI_DATA];
    facts->ident_version = ident[EI_VERSION];
    facts->osabi = ident[EI_OSABI];
    facts->abiversion = ident[EI_ABIVERSION];
    for (int i = EI_PAD; i < EI_NIDENT; i++)
        facts->ident_pad_set |= ident[i] != 0;
    facts->class_by_layout = class_by_layout(ident, length);
}

/* Class and byte order to read with. Where the ident has no valid one, the layout speaks. */
static void choose_view(bm_elf *elf, const uint8_t *header)
{
    bm_facts *facts = elf->facts;
    uint32_t class = elf->reader->view & 0xff, data = elf->reader->view >> 8;
    if (!elf->reader->view) {
        class = facts->elf_class;
        data = facts->elf_data;
        if (facts->ident_version != 1)
            bm_reader_issue(elf->reader, BM_ISSUE_BAD_IDENT_VERSION, EI_VERSION, facts->ident_version);
    }
    if (class != 1 && class != 2) {
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_CLASS, EI_CLASS, class);
        class = facts->class_by_layout ? facts->class_by_layout : 2;
    }
    if (data != 1 && data != 2) {
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_DATA, EI_DATA, data);
        data = bm_load32(header + 20, true) == 1 ? 2 : 1;
    }
    elf->wide = class == 2;
    elf->big = data == 2;
    elf->phdr_size = elf->wide ? 56 : 32;
    elf->shdr_size = elf->wide ? 64 : 40;
}

static void read_fields(bm_elf *elf, const uint8_t *header)
{
    bm_facts *facts = elf->facts;
    bool big = elf->big;
    const uint8_t *tail = header + (elf->wide ? 48 : 36); /* e_flags and what follows it */
    uint32_t word = elf->wide ? 8 : 4;
    facts->read_class = elf->wide ? 2 : 1;
    facts->read_data = big ? 2 : 1;
    facts->type = bm_load16(header + 16, big);
    facts->machine = bm_load16(header + 18, big);
    facts->machine_le = bm_load16(header + 18, false);
    facts->machine_be = bm_load16(header + 18, true);
    facts->version = bm_load32(header + 20, big);
    facts->entry = bm_load_word(header + 24, elf->wide, big);
    facts->phoff = bm_load_word(header + 24 + word, elf->wide, big);
    facts->shoff = bm_load_word(header + 24 + 2 * word, elf->wide, big);
    facts->flags = bm_load32(tail, big);
    facts->ehsize = bm_load16(tail + 4, big);
    facts->phentsize = bm_load16(tail + 6, big);
    facts->phnum_raw = facts->phnum = bm_load16(tail + 8, big);
    facts->shentsize = bm_load16(tail + 10, big);
    facts->shnum = bm_load16(tail + 12, big);
    facts->shstrndx = bm_load16(tail + 14, big);
}

/*
 * Counts too large for the header stand in section header 0 (gABI, "Special Section Indexes"). From here
 * on there is one count of each, so that no two parts of the reader can disagree.
 */
static void reconcile_counts(bm_elf *elf)
{
    bm_facts *facts = elf->facts;
    bool extended = facts->phnum == PN_XNUM || facts->shnum == 0 || facts->shstrndx == SHN_XINDEX;
    if (!facts->shoff || !extended)
        return;
    const uint8_t *first = bm_view(elf->reader->source, facts->shoff, elf->shdr_size);
    if (!first) {
        bm_reader_issue(elf->reader, BM_ISSUE_SHDRS_PAST_EOF, facts->shoff, 1);
        return;
    }
    uint64_t size = bm_load_word(first + (elf->wide ? 32 : 20), elf->wide, elf->big);
    if (facts->shnum == 0)
        facts->shnum = size > 0xffffffff ? 0xffffffff : (uint32_t)size;
    if (facts->shstrndx == SHN_XINDEX)
        facts->shstrndx = bm_load32(first + (elf->wide ? 40 : 24), elf->big);
    if (facts->phnum == PN_XNUM)
        facts->phnum = bm_load32(first + (elf->wide ? 44 : 28), elf->big);
}

static void check_header(bm_elf *elf)
{
    const bm_facts *facts = elf->facts;
    if (facts->version != 1)
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_VERSION, 20, facts->version);
    if (facts->ehsize != (elf->wide ? 64 : 52))
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_EHSIZE, elf->wide ? 52 : 40, facts->ehsize);
}

static bool read_header(bm_elf *elf)
{
    bm_reader *reader = elf->reader;
    uint64_t size = reader->source->size;
    size_t length = size < 64 ? (size_t)size : 64;
    uint8_t header[64] = {0};
    if (!bm_source_copy(reader->source, 0, header, length))
        return false;
    read_ident(elf, header, length);
    choose_view(elf, header);
    size_t need = elf->wide ? 64 : 52;
    bm_elf_describe(elf, 0, need);
    if (length < need) {
        bm_reader_issue(reader, BM_ISSUE_SHORT_HEADER, length, need);
        return false;
    }
    read_fields(elf, header);
    check_header(elf);
    reconcile_counts(elf);
    return true;
}

void bm_read_elf(bm_reader *reader)
{
    bm_elf elf = {.reader = reader, .facts = &reader->facts};
    if (read_header(&elf)) {
        bm_elf_read_segments(&elf);
        bm_elf_read_sections(&elf);
        bm_elf_read_dynamic(&elf);
        bm_elf_read_notes(&elf);
        bm_elf_read_go(&elf);
    }
    reader->facts.truncated = reader->facts.described_end > reader->source->size;
}

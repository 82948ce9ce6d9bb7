/*
 * elf_sections.c: what section headers add, where there are any.
 *
 * Purpose.    Symbol table, debug information, the place of .go.buildinfo and the end of the file. A
 *             stripped or packed file may have none; nothing that decides about execution needs them.
 * Ownership.  Nothing is kept.
 * Threads.    None of its own.
 */
#include "elf.h"

#include <string.h>

typedef struct {
    uint32_t name, type;
    uint64_t address, offset, size;
} section;

static section decode(const bm_elf *elf, const uint8_t *p)
{
    bool wide = elf->wide, big = elf->big;
    const uint8_t *rest = p + (wide ? 16 : 12); /* sh_addr and what follows it */
    uint32_t word = wide ? 8 : 4;
    return (section){bm_load32(p, big), bm_load32(p + 4, big), bm_load_word(rest, wide, big),
                     bm_load_word(rest + word, wide, big), bm_load_word(rest + 2 * word, wide, big)};
}

static bool usable(bm_elf *elf)
{
    const bm_facts *facts = elf->facts;
    uint64_t length = (uint64_t)facts->shnum * facts->shentsize;
    if (!facts->shoff || !facts->shnum)
        return false;
    bm_elf_describe(elf, facts->shoff, length);
    if (facts->shentsize != elf->shdr_size) {
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_SHENTSIZE, facts->shoff, facts->shentsize);
        if (facts->shentsize < elf->shdr_size)
            return false;
    }
    if (!bm_within(facts->shoff, length, elf->reader->source->size)) {
        bm_reader_issue(elf->reader, BM_ISSUE_SHDRS_PAST_EOF, facts->shoff, facts->shnum);
        return false;
    }
    return true;
}

static bool header_at(bm_elf *elf, uint32_t index, section *result)
{
    uint64_t at = elf->facts->shoff + (uint64_t)index * elf->facts->shentsize;
    const uint8_t *bytes = bm_view(elf->reader->source, at, elf->shdr_size);
    if (bytes)
        *result = decode(elf, bytes);
    return bytes != NULL;
}

static inline bool name_is(bm_elf *elf, const section *names, uint32_t name, const char *wanted)
{
    size_t length = strlen(wanted) + 1;
    if (!bm_within(name, length, names->size) || names->offset > UINT64_MAX - name)
        return false;
    const uint8_t *bytes = bm_view(elf->reader->source, names->offset + name, length);
    return bytes && memcmp(bytes, wanted, length) == 0;
}

static void note_section(bm_elf *elf, const section *found, const section *names, uint64_t at)
{
    bm_facts *facts = elf->facts;
    bool in_file = found->type != SHT_NULL && found->type != SHT_NOBITS;
    if (!in_file)
        return;
    bm_elf_describe(elf, found->offset, found->size);
    if (found->size && !bm_within(found->offset, found->size, elf->reader->source->size))
        bm_reader_issue(elf->reader, BM_ISSUE_SECTION_PAST_EOF, at, found->type);
    if (found->type == SHT_SYMTAB)
        facts->has_symtab = 1;
    if (found->type == SHT_DYNSYM)
        elf->dynsym = (bm_range){found->offset, found->size, true};
    if (found->type != SHT_PROGBITS && found->type != SHT_MIPS_DWARF)
        return; /* names cost a look into another table; no other section's name matters */
    if (name_is(elf, names, found->name, ".debug_info") || name_is(elf, names, found->name, ".zdebug_info"))
        facts->has_debug = 1;
    if (name_is(elf, names, found->name, ".go.buildinfo")) {
        elf->go_section = (bm_range){found->offset, found->size, true};
        elf->go_address = found->address;
    }
}

void bm_elf_read_sections(bm_elf *elf)
{
    section names = {0}, found;
    if (!usable(elf))
        return;
    elf->facts->has_sections = 1;
    if (elf->facts->shstrndx < elf->facts->shnum)
        header_at(elf, elf->facts->shstrndx, &names);
    for (uint32_t i = 0; i < elf->facts->shnum; i++) {
        if (!header_at(elf, i, &found))
            return;
        note_section(elf, &found, &names, elf->facts->shoff + (uint64_t)i * elf->facts->shentsize);
    }
}

/*
 * elf_dynamic.c: the dynamic section and its string table.
 *
 * Purpose.    What the loader will look for, and under which flags (gABI chapter 5; glibc
 *             elf/get-dynamic-info.h). A position-independent executable is told from a library by
 *             DF_1_PIE, or by an interpreter without a DT_SONAME: libc.so.6 has both and is a library.
 * Ownership.  Strings are copied into the arena.
 * Threads.    None of its own.
 */
#include "elf.h"

enum {
    DT_NULL = 0, DT_NEEDED = 1, DT_PLTRELSZ = 2, DT_HASH = 4, DT_STRTAB = 5, DT_SYMTAB = 6, DT_RELA = 7,
    DT_RELASZ = 8, DT_STRSZ = 10, DT_SYMENT = 11, DT_SONAME = 14, DT_RPATH = 15, DT_REL = 17, DT_RELSZ = 18,
    DT_PLTREL = 20, DT_TEXTREL = 22, DT_JMPREL = 23, DT_BIND_NOW = 24, DT_INIT_ARRAY = 25, DT_RUNPATH = 29,
    DT_FLAGS = 30, DT_RELR = 36, DT_ANDROID_RELR = 0x6fffe000, DT_GNU_HASH = 0x6ffffef5,
    DT_VERSYM = 0x6ffffff0, DT_FLAGS_1 = 0x6ffffffb, DT_VERDEF = 0x6ffffffc, DT_VERDEFNUM = 0x6ffffffd,
    DT_VERNEED = 0x6ffffffe, DT_VERNEEDNUM = 0x6fffffff,
    DF_TEXTREL = 4, DF_BIND_NOW = 8, DF_1_NOW = 1, DF_1_PIE = 0x08000000,
};

bm_str bm_elf_string(bm_elf *elf, uint64_t index)
{
    static const bm_str absent = {BM_NONE, 0};
    bm_reader *reader = elf->reader;
    uint64_t most = index < elf->strtab.size ? elf->strtab.size - index : 0;
    uint64_t at = elf->strtab.offset + index;
    uint64_t cap = reader->strings_left < BM_MAX_STRING ? reader->strings_left : BM_MAX_STRING;
    uint32_t looked = most < cap ? (uint32_t)most : (uint32_t)cap;
    int64_t length = bm_reader_strlen(reader, at, looked);
    if (length < 0) {
        bm_reader_issue(reader, looked == most ? BM_ISSUE_BAD_STRING : BM_ISSUE_CAPPED, at, index);
        reader->strings_left -= looked; /* looking has its price too, or bad files would be slow */
        return absent;
    }
    reader->strings_left -= (uint32_t)length;
    return bm_reader_keep(reader, at, (uint64_t)length);
}

/* A table's tag; a later one wins, as it does in glibc. */
static bool note_table(bm_elf *elf, uint64_t tag, uint64_t value)
{
    bm_tag *table = NULL;
    switch (tag) {
    case DT_STRTAB: table = &elf->strtab_tag; break;
    case DT_SYMTAB: table = &elf->symtab_tag; break;
    case DT_HASH: table = &elf->hash_tag; break;
    case DT_GNU_HASH: table = &elf->gnu_hash_tag; break;
    case DT_VERSYM: table = &elf->versym_tag; break;
    case DT_VERNEED: table = &elf->verneed_tag; break;
    case DT_VERDEF: table = &elf->verdef_tag; break;
    case DT_RELA: table = &elf->rela_tag; break;
    case DT_REL: table = &elf->rel_tag; break;
    case DT_JMPREL: table = &elf->jmprel_tag; break;
    default: return false;
    }
    *table = (bm_tag){true, value};
    return true;
}

/* Names are kept as offsets until the string table is known. */
static bool note_name(bm_elf *elf, uint64_t tag, uint64_t value)
{
    bm_str name = {value < BM_NONE ? (uint32_t)value : BM_NONE, 0};
    switch (tag) {
    case DT_NEEDED:
        if (elf->facts->needed.count < BM_MAX_NEEDED)
            bm_reader_push(elf->reader, &elf->facts->needed, &name, sizeof name);
        else
            bm_reader_issue(elf->reader, BM_ISSUE_CAPPED, elf->facts->needed.off, BM_MAX_NEEDED);
        return true;
    case DT_SONAME:
        elf->soname = value;
        return elf->has_soname = true;
    case DT_RPATH:
        elf->rpath = value;
        return elf->has_rpath = true;
    case DT_RUNPATH:
        elf->runpath = value;
        return elf->has_runpath = true;
    default:
        return false;
    }
}

static void note_value(bm_elf *elf, uint64_t tag, uint64_t value)
{
    bm_facts *facts = elf->facts;
    switch (tag) {
    case DT_STRSZ: elf->strsz = value; break;
    case DT_SYMENT: elf->syment = value; break;
    case DT_VERNEEDNUM: elf->verneed_num = value; break;
    case DT_VERDEFNUM: elf->verdef_num = value; break;
    case DT_RELASZ: elf->relasz = value; break;
    case DT_RELSZ: elf->relsz = value; break;
    case DT_PLTRELSZ: elf->pltrelsz = value; break;
    case DT_PLTREL: elf->pltrel = value; break;
    case DT_TEXTREL: facts->textrel = 1; break;
    case DT_BIND_NOW: facts->bind_now = 1; break;
    case DT_INIT_ARRAY: facts->has_init_array = 1; break;
    case DT_FLAGS: facts->dt_flags = value; break;
    case DT_FLAGS_1: facts->dt_flags_1 = value; break;
    case DT_RELR: case DT_ANDROID_RELR: facts->has_relr = 1; break;
    default: break;
    }
}

/* The last PT_DYNAMIC that is not empty, as glibc (_dl_map_object_from_fd) and musl take it. */
static bool last_dynamic(bm_elf *elf, bm_segment *found)
{
    const bm_segment *segments = bm_elf_segments(elf);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < elf->facts->segments.count; i++) {
        if (segments[i].type != PT_DYNAMIC || !segments[i].filesz)
            continue;
        *found = segments[i];
        if (seen++)
            bm_reader_issue(elf->reader, BM_ISSUE_SECOND_DYNAMIC, found->offset, i);
    }
    return seen > 0;
}

/*
 * Loaders find the dynamic section by address, other tools by offset. The address is followed, and it is
 * an issue where the two lead to different bytes.
 */
static bool find_dynamic(bm_elf *elf, bm_range *table)
{
    bm_segment found;
    uint64_t offset, available;
    if (!last_dynamic(elf, &found))
        return false;
    if (!bm_elf_locate(elf, found.vaddr, &offset, &available)) {
        offset = found.offset;
        available = offset < elf->reader->source->size ? elf->reader->source->size - offset : 0;
    }
    if (offset != found.offset)
        bm_reader_issue(elf->reader, BM_ISSUE_DYNAMIC_ELSEWHERE, found.offset, offset);
    if (available < found.filesz)
        bm_reader_issue(elf->reader, BM_ISSUE_DYNAMIC_PAST_EOF, offset, found.filesz);
    *table = (bm_range){offset, available < found.filesz ? available : found.filesz, true};
    return true;
}

static void walk(bm_elf *elf, const bm_range *table)
{
    uint64_t size = elf->wide ? 16 : 8, count = table->size / size;
    if (count > BM_MAX_DYNAMIC) {
        bm_reader_issue(elf->reader, BM_ISSUE_CAPPED, table->offset, count);
        count = BM_MAX_DYNAMIC;
    }
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *entry = bm_view(elf->reader->source, table->offset + i * size, (size_t)size);
        if (!entry)
            return;
        uint64_t tag = bm_load_word(entry, elf->wide, elf->big);
        uint64_t value = bm_load_word(entry + size / 2, elf->wide, elf->big);
        if (tag == DT_NULL)
            return;
        if (!note_table(elf, tag, value) && !note_name(elf, tag, value))
            note_value(elf, tag, value);
    }
    bm_reader_issue(elf->reader, BM_ISSUE_DYNAMIC_NO_NULL, table->offset, count);
}

static void find_strings(bm_elf *elf)
{
    uint64_t offset = 0, available = 0;
    if (!elf->strtab_tag.present && !elf->facts->needed.count)
        return;
    bool found = elf->strtab_tag.present && bm_elf_locate(elf, elf->strtab_tag.address, &offset, &available);
    if (found && !elf->strsz)
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_DYNAMIC, offset, 0);
    else if (!found || available < elf->strsz)
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_STRTAB, offset, elf->strsz);
    elf->strtab = (bm_range){offset, available < elf->strsz ? available : elf->strsz, found};
}

static void resolve_names(bm_elf *elf)
{
    bm_facts *facts = elf->facts;
    for (uint32_t i = 0; i < facts->needed.count; i++) {
        uint32_t at = facts->needed.off + i * (uint32_t)sizeof(bm_str);
        bm_str *item = bm_arena_at(elf->reader->arena, at);
        bm_str name = bm_elf_string(elf, item->off);
        item = bm_arena_at(elf->reader->arena, at); /* the arena may have moved */
        *item = name;
    }
    if (elf->has_soname)
        facts->soname = bm_elf_string(elf, elf->soname);
    if (elf->has_rpath)
        facts->rpath = bm_elf_string(elf, elf->rpath);
    if (elf->has_runpath)
        facts->runpath = bm_elf_string(elf, elf->runpath);
}

void bm_elf_read_dynamic(bm_elf *elf)
{
    bm_facts *facts = elf->facts;
    bm_range table;
    if (facts->has_dynamic && find_dynamic(elf, &table)) {
        walk(elf, &table);
        find_strings(elf);
        resolve_names(elf);
        bm_elf_read_versions(elf);
        bm_elf_read_symbols(elf);
    }
    bool by_interp = facts->interp_count && !elf->has_soname;
    facts->textrel |= (facts->dt_flags & DF_TEXTREL) != 0;
    facts->bind_now |= (facts->dt_flags & DF_BIND_NOW) || (facts->dt_flags_1 & DF_1_NOW);
    facts->has_gnu_hash = elf->gnu_hash_tag.present;
    facts->has_sysv_hash = elf->hash_tag.present;
    facts->verneed_num = elf->verneed_num > 0xffffffff ? 0xffffffff : (uint32_t)elf->verneed_num;
    facts->pie = facts->type == ET_DYN && ((facts->dt_flags_1 & DF_1_PIE) || by_interp);
    facts->static_pie = facts->pie && !facts->interp_count;
}

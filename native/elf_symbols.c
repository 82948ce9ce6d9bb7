/*
 * elf_symbols.c: how many dynamic symbols there are, and on request which.
 *
 * Purpose.    The dynamic symbol table has no length of its own. GNU_HASH orders hashed symbols last, so
 *             the end of its last chain is the end of the table; a DT_HASH says it outright. An executable
 *             that exports nothing has a GNU_HASH without chains, which tells nothing: there the section
 *             header speaks, and without one the relocations, since an undefined symbol without one has
 *             no effect.
 * Ownership.  Symbols and one copy of the string table go into the arena; names point into the copy, so a
 *             table whose names overlap cannot make it grow beyond the file.
 * Threads.    None of its own.
 */
#include "elf.h"

#include <string.h>

static uint64_t symbol_size(const bm_elf *elf)
{
    return elf->wide ? 24 : 16;
}

/* The highest symbol index among the buckets, 0 where all are empty. */
static uint32_t highest_bucket(bm_elf *elf, uint64_t offset, uint32_t count)
{
    uint32_t highest = 0;
    while (count > 0) {
        uint32_t chunk = count < BM_VIEW_MOST / 4 ? count : BM_VIEW_MOST / 4;
        const uint8_t *buckets = bm_view(elf->reader->source, offset, chunk * 4);
        if (!buckets)
            return 0;
        for (uint32_t i = 0; i < chunk; i++) {
            uint32_t symbol = bm_load32(buckets + 4 * i, elf->big);
            highest = symbol > highest ? symbol : highest;
        }
        offset += chunk * 4;
        count -= chunk;
    }
    return highest;
}

/* Symbols up to the end of the chain that starts with `symbol`; 0 where it leaves the table. */
static uint64_t end_of_chain(bm_elf *elf, uint64_t chains, uint64_t length, uint64_t symbol, uint32_t first)
{
    for (uint64_t at = (symbol - first) * 4; bm_within(at, 4, length); at += 4, symbol++) {
        const uint8_t *value = bm_view(elf->reader->source, chains + at, 4);
        if (!value)
            return 0;
        if (bm_load32(value, elf->big) & 1)
            return symbol + 1;
    }
    return 0;
}

/* Reads a GNU_HASH; *count stays as it is where the table has no chains. False where it is unusable. */
static bool count_by_gnu_hash(bm_elf *elf, uint64_t *count)
{
    uint64_t offset, length;
    const uint8_t *header = NULL;
    if (bm_elf_locate(elf, elf->gnu_hash_tag.address, &offset, &length) && length >= 16)
        header = bm_view(elf->reader->source, offset, 16);
    if (!header)
        return false;
    uint32_t buckets = bm_load32(header, elf->big), first = bm_load32(header + 4, elf->big);
    uint32_t bloom = bm_load32(header + 8, elf->big);
    uint64_t start = 16 + (uint64_t)bloom * (elf->wide ? 8 : 4), size = (uint64_t)buckets * 4;
    if (!buckets || !bloom || (bloom & (bloom - 1)) || !bm_within(start, size, length))
        return false;
    uint32_t highest = highest_bucket(elf, offset + start, buckets);
    if (!highest)
        return true;
    if (highest < first)
        return false;
    uint64_t chains = start + size;
    *count = end_of_chain(elf, offset + chains, length - chains, highest, first);
    return *count != 0;
}

/* DT_HASH: as many chains as symbols. Its words have 8 bytes on 64-bit s390 and Alpha (their psABIs). */
static bool count_by_sysv_hash(bm_elf *elf, uint64_t *count)
{
    uint16_t machine = elf->facts->machine;
    bool wide = elf->wide && (machine == EM_S390 || machine == EM_ALPHA);
    uint64_t word = wide ? 8 : 4, offset, length;
    const uint8_t *header = NULL;
    if (bm_elf_locate(elf, elf->hash_tag.address, &offset, &length) && length >= 2 * word)
        header = bm_view(elf->reader->source, offset, (size_t)(2 * word));
    if (!header)
        return false;
    uint64_t buckets = bm_load_word(header, wide, elf->big), chains = bm_load_word(header + word, wide, elf->big);
    uint64_t room = length / word - 2;
    if (!chains || buckets > room || chains > room - buckets)
        return false;
    *count = chains;
    return true;
}

/* One more than the highest symbol that a relocation table refers to, or `highest` if that is more. */
static uint64_t highest_relocated(bm_elf *elf, bm_tag table, uint64_t size, uint64_t entry, uint64_t highest)
{
    uint64_t offset, available, word = elf->wide ? 8 : 4;
    if (!table.present || entry < 2 * word || !bm_elf_locate(elf, table.address, &offset, &available))
        return highest;
    uint64_t end = offset + (size < available ? size : available);
    for (; end - offset >= entry; offset += entry) {
        const uint8_t *bytes = bm_view(elf->reader->source, offset, (size_t)(2 * word));
        if (!bytes)
            break;
        uint64_t info = bm_load_word(bytes + word, elf->wide, elf->big);
        uint64_t symbol = elf->wide ? info >> 32 : info >> 8;
        if (symbol && symbol + 1 > highest)
            highest = symbol + 1;
    }
    return highest;
}

static uint64_t count_by_relocations(bm_elf *elf)
{
    uint64_t rela = elf->wide ? 24 : 12, rel = elf->wide ? 16 : 8, count = 1;
    count = highest_relocated(elf, elf->rela_tag, elf->relasz, rela, count);
    count = highest_relocated(elf, elf->rel_tag, elf->relsz, rel, count);
    return highest_relocated(elf, elf->jmprel_tag, elf->pltrelsz, elf->pltrel == 7 ? rela : rel, count);
}

static uint64_t count_symbols(bm_elf *elf)
{
    uint64_t count = 0;
    if (elf->gnu_hash_tag.present && !count_by_gnu_hash(elf, &count))
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_HASH, 0, 0);
    if (!count && elf->hash_tag.present && !count_by_sysv_hash(elf, &count))
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_HASH, 0, 1);
    if (!count && elf->dynsym.present)
        count = elf->dynsym.size / symbol_size(elf);
    return count ? count : count_by_relocations(elf);
}

static bm_symbol decode(const bm_elf *elf, const uint8_t *p)
{
    bool big = elf->big;
    bm_symbol symbol = {.name = {bm_load32(p, big), 0}};
    const uint8_t *rest = elf->wide ? p + 4 : p + 12;
    symbol.value = elf->wide ? bm_load64(p + 8, big) : bm_load32(p + 4, big);
    symbol.size = elf->wide ? bm_load64(p + 16, big) : bm_load32(p + 8, big);
    symbol.info = rest[0];
    symbol.other = rest[1];
    symbol.section = bm_load16(rest + 2, big);
    return symbol;
}

/* A name in the copied string table. Looking for the ends of overlapping long names costs time, so the total is bounded. */
static bm_str name_in(bm_elf *elf, bm_str table, uint32_t index, uint64_t *work)
{
    static const bm_str absent = {BM_NONE, 0};
    const uint8_t *strings = bm_arena_at(elf->reader->arena, table.off);
    uint32_t left = index < table.len ? table.len - index : 0;
    size_t most = left < *work ? left : (size_t)*work;
    const uint8_t *end = most ? memchr(strings + index, 0, most) : NULL;
    if (!end) {
        bm_reader_issue(elf->reader, most == left ? BM_ISSUE_BAD_STRING : BM_ISSUE_CAPPED, elf->strtab.offset, index);
        *work -= most;
        return absent;
    }
    uint32_t length = (uint32_t)(end - strings) - index;
    *work -= length;
    return (bm_str){table.off + index, length};
}

static void fill_names(bm_elf *elf, bm_list symbols)
{
    bm_str table = bm_reader_keep(elf->reader, elf->strtab.offset, elf->strtab.size);
    uint64_t work = 16 * elf->strtab.size + 65536;
    if (table.off == BM_NONE) {
        table = (bm_str){symbols.off, 0}; /* no names: every index is outside */
        if (bm_reader_stopped(elf->reader))
            return;
    }
    for (uint32_t i = 0; i < symbols.count; i++) {
        bm_symbol *symbol = (bm_symbol *)bm_arena_at(elf->reader->arena, symbols.off) + i;
        symbol->name = name_in(elf, table, symbol->name.off, &work);
    }
}

static void fill_versions(bm_elf *elf, bm_list symbols)
{
    uint64_t offset, available;
    if (!elf->versym_tag.present)
        return;
    if (!bm_elf_locate(elf, elf->versym_tag.address, &offset, &available) || available / 2 < symbols.count) {
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_SYMTAB, 0, symbols.count);
        return;
    }
    bm_symbol *symbol = bm_arena_at(elf->reader->arena, symbols.off);
    for (uint32_t i = 0; i < symbols.count; i++) {
        const uint8_t *version = bm_view(elf->reader->source, offset + 2 * (uint64_t)i, 2);
        if (!version)
            return;
        symbol[i].version = bm_load16(version, elf->big);
    }
}

static void keep_symbols(bm_elf *elf, uint64_t offset, uint64_t count)
{
    uint64_t size = symbol_size(elf);
    uint32_t start;
    if (count > BM_MAX_SYMBOLS) {
        bm_reader_issue(elf->reader, BM_ISSUE_CAPPED, offset, count);
        count = BM_MAX_SYMBOLS;
    }
    if (!bm_reader_reserve(elf->reader, count * sizeof(bm_symbol), &start))
        return;
    bm_symbol *symbols = bm_arena_at(elf->reader->arena, start);
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *bytes = bm_view(elf->reader->source, offset + i * size, (size_t)size);
        if (!bytes)
            return;
        symbols[i] = decode(elf, bytes);
    }
    elf->facts->symbols = (bm_list){start, (uint32_t)count};
    fill_versions(elf, elf->facts->symbols);
    fill_names(elf, elf->facts->symbols);
}

void bm_elf_read_symbols(bm_elf *elf)
{
    uint64_t offset, available, size = symbol_size(elf);
    if (!elf->symtab_tag.present)
        return;
    uint64_t count = count_symbols(elf);
    if (elf->syment && elf->syment != size)
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_SYMTAB, 0, elf->syment);
    if (!bm_elf_locate(elf, elf->symtab_tag.address, &offset, &available)) {
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_SYMTAB, 0, count);
        return;
    }
    if (count > available / size) {
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_SYMTAB, offset, count);
        count = available / size;
    }
    elf->facts->symbol_count = count > 0xffffffff ? 0xffffffff : (uint32_t)count;
    if (elf->reader->want & BM_WANT_SYMBOLS)
        keep_symbols(elf, offset, count);
}

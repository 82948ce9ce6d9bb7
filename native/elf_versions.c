/*
 * elf_versions.c: symbol versions needed and defined (LSB Core, "Symbol Versioning").
 *
 * Purpose.    GLIBC_2.34 and its like: the most common reason why a binary that is of the right machine
 *             does not start. Both tables are chains of relative links; glibc follows the links and never
 *             looks at the counts, so links decide here and a disagreement is an issue.
 * Ownership.  Items are pushed first, with names as offsets in the string table; then names are resolved,
 *             so that a list stays in one piece.
 * Threads.    None of its own.
 */
#include "elf.h"

/* One table in the file, and how far a reader may go in it. */
typedef struct {
    uint64_t offset, size;
    uint32_t issue; /* the code for whatever is wrong with it */
} chain;

static const uint8_t *entry_at(bm_elf *elf, const chain *table, uint64_t position, size_t size)
{
    const uint8_t *bytes = NULL;
    if (bm_within(position, size, table->size))
        bytes = bm_view(elf->reader->source, table->offset + position, size);
    if (!bytes)
        bm_reader_issue(elf->reader, table->issue, table->offset + position, 0);
    return bytes;
}

/* Steps to the next entry; false at the end of the chain or where the link leaves the table. */
static bool advance(bm_elf *elf, const chain *table, uint64_t *position, uint32_t link)
{
    if (link > table->size - *position) {
        bm_reader_issue(elf->reader, table->issue, table->offset + *position, link);
        return false;
    }
    *position += link;
    return link != 0;
}

static bool open_table(bm_elf *elf, bm_tag tag, uint32_t issue, chain *table)
{
    *table = (chain){.issue = issue};
    if (!tag.present)
        return false;
    if (bm_elf_locate(elf, tag.address, &table->offset, &table->size))
        return true;
    bm_reader_issue(elf->reader, issue, 0, 0);
    return false;
}

static bool full(bm_elf *elf, const chain *table, uint32_t count)
{
    if (count < BM_MAX_VERSIONS)
        return false;
    bm_reader_issue(elf->reader, BM_ISSUE_CAPPED, table->offset, count);
    return true;
}

/* The versions needed of one library; `position` is that of its first vernaux. */
static bool walk_needed_versions(bm_elf *elf, const chain *table, uint64_t position, uint32_t library, uint32_t count)
{
    bm_list *list = &elf->facts->verneeds;
    uint32_t seen = 0, link;
    do {
        const uint8_t *aux = entry_at(elf, table, position, 16);
        if (!aux || full(elf, table, list->count))
            return false;
        link = bm_load32(aux + 12, elf->big);
        bm_verneed need = {.library = {library, 0},
                           .version = {bm_load32(aux + 8, elf->big), 0},
                           .hash = bm_load32(aux, elf->big),
                           .flags = bm_load16(aux + 4, elf->big),
                           .index = bm_load16(aux + 6, elf->big)};
        if (!bm_reader_push(elf->reader, list, &need, sizeof need))
            return false;
        seen++;
    } while (advance(elf, table, &position, link));
    if (seen != count)
        bm_reader_issue(elf->reader, table->issue, table->offset + position, count);
    return true;
}

static void walk_needs(bm_elf *elf, const chain *table)
{
    uint64_t position = 0, seen = 0;
    uint32_t link;
    do {
        const uint8_t *need = entry_at(elf, table, position, 16);
        if (!need)
            return;
        uint32_t first = bm_load32(need + 8, elf->big), count = bm_load16(need + 2, elf->big);
        link = bm_load32(need + 12, elf->big);
        if (bm_load16(need, elf->big) != 1) {
            bm_reader_issue(elf->reader, table->issue, table->offset + position, bm_load16(need, elf->big));
            return;
        }
        if (count && !walk_needed_versions(elf, table, position + first, bm_load32(need + 4, elf->big), count))
            return;
        seen++;
    } while (advance(elf, table, &position, link));
    if (seen != elf->verneed_num)
        bm_reader_issue(elf->reader, table->issue, table->offset, elf->verneed_num);
}

static void walk_definitions(bm_elf *elf, const chain *table)
{
    bm_list *list = &elf->facts->verdefs;
    uint64_t position = 0;
    uint32_t link;
    do {
        const uint8_t *entry = entry_at(elf, table, position, 20);
        if (!entry || full(elf, table, list->count))
            return;
        uint64_t first = bm_load32(entry + 12, elf->big);
        link = bm_load32(entry + 16, elf->big);
        bm_verdef definition = {.hash = bm_load32(entry + 8, elf->big),
                                .flags = bm_load16(entry + 2, elf->big),
                                .index = bm_load16(entry + 4, elf->big)};
        if (bm_load16(entry, elf->big) != 1) {
            bm_reader_issue(elf->reader, table->issue, table->offset + position, bm_load16(entry, elf->big));
            return;
        }
        const uint8_t *aux = entry_at(elf, table, position + first, 8);
        if (!aux)
            return;
        definition.name.off = bm_load32(aux, elf->big);
        if (!bm_reader_push(elf->reader, list, &definition, sizeof definition))
            return;
    } while (advance(elf, table, &position, link));
    if (list->count != elf->verdef_num)
        bm_reader_issue(elf->reader, table->issue, table->offset, elf->verdef_num);
}

/* A library's name is shared by all versions that are needed of it. */
static void resolve_needs(bm_elf *elf)
{
    bm_list list = elf->facts->verneeds;
    uint32_t last = BM_NONE;
    bm_str library = {BM_NONE, 0};
    for (uint32_t i = 0; i < list.count; i++) {
        uint32_t at = list.off + i * (uint32_t)sizeof(bm_verneed);
        bm_verneed need = *(bm_verneed *)bm_arena_at(elf->reader->arena, at);
        if (need.library.off != last || i == 0) {
            last = need.library.off;
            library = bm_elf_string(elf, last);
        }
        need.library = library;
        need.version = bm_elf_string(elf, need.version.off);
        *(bm_verneed *)bm_arena_at(elf->reader->arena, at) = need;
    }
}

static void resolve_definitions(bm_elf *elf)
{
    bm_list list = elf->facts->verdefs;
    for (uint32_t i = 0; i < list.count; i++) {
        uint32_t at = list.off + i * (uint32_t)sizeof(bm_verdef);
        bm_verdef definition = *(bm_verdef *)bm_arena_at(elf->reader->arena, at);
        definition.name = bm_elf_string(elf, definition.name.off);
        *(bm_verdef *)bm_arena_at(elf->reader->arena, at) = definition;
    }
}

void bm_elf_read_versions(bm_elf *elf)
{
    chain table;
    if (open_table(elf, elf->verneed_tag, BM_ISSUE_BAD_VERNEED, &table)) {
        walk_needs(elf, &table);
        resolve_needs(elf);
    }
    if (open_table(elf, elf->verdef_tag, BM_ISSUE_BAD_VERDEF, &table)) {
        walk_definitions(elf, &table);
        resolve_definitions(elf);
    }
}

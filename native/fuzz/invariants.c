/*
 * invariants.c: see invariants.h.
 *
 * Purpose.    Each check names itself when it fails, so a crash report says what broke.
 * Ownership.  Blocks are made and freed within a call.
 * Threads.    None of its own.
 */
#include "invariants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLDS(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static void check_string(const bm_block *block, bm_str string, uint32_t most)
{
    if (string.off == BM_NONE) {
        HOLDS(string.len == 0);
        return;
    }
    HOLDS(bm_within(string.off, string.len, block->arena_len));
    HOLDS(string.len <= most);
}

static const void *check_list(const bm_block *block, bm_list list, uint64_t item, uint32_t most)
{
    HOLDS(list.count <= most);
    if (!list.count)
        return NULL;
    HOLDS(list.off % 8 == 0);
    HOLDS(bm_within(list.off, list.count * item, block->arena_len));
    return block->arena + list.off;
}

static void check_versions(const bm_block *block, const bm_facts *facts)
{
    const bm_verneed *need = check_list(block, facts->verneeds, sizeof *need, BM_MAX_VERSIONS);
    for (uint32_t i = 0; i < facts->verneeds.count; i++) {
        check_string(block, need[i].library, BM_MAX_STRING);
        check_string(block, need[i].version, BM_MAX_STRING);
    }
    const bm_verdef *definition = check_list(block, facts->verdefs, sizeof *definition, BM_MAX_VERSIONS);
    for (uint32_t i = 0; i < facts->verdefs.count; i++)
        check_string(block, definition[i].name, BM_MAX_STRING);
}

static void check_lists(const bm_block *block, const bm_facts *facts)
{
    const bm_str *needed = check_list(block, facts->needed, sizeof *needed, BM_MAX_NEEDED);
    for (uint32_t i = 0; i < facts->needed.count; i++)
        check_string(block, needed[i], BM_MAX_STRING);
    const bm_symbol *symbol = check_list(block, facts->symbols, sizeof *symbol, BM_MAX_SYMBOLS);
    for (uint32_t i = 0; i < facts->symbols.count; i++)
        check_string(block, symbol[i].name, UINT32_MAX);
    const bm_note *note = check_list(block, facts->notes, sizeof *note, BM_MAX_NOTES);
    for (uint32_t i = 0; i < facts->notes.count; i++) {
        check_string(block, note[i].name, BM_MAX_STRING);
        check_string(block, note[i].desc, BM_MAX_NOTE_DESC);
    }
    const bm_fat_arch *slice = check_list(block, facts->fat, sizeof *slice, BM_MAX_FAT);
    for (uint32_t i = 0; i < facts->fat.count; i++) {
        check_string(block, slice[i].go_version, BM_MAX_GO_VERSION);
        check_string(block, slice[i].go_modinfo, BM_MAX_MODINFO);
    }
    check_versions(block, facts);
}

static void check_strings(const bm_block *block, const bm_facts *facts)
{
    const bm_str names[] = {facts->soname, facts->rpath, facts->runpath};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_string(block, names[i], BM_MAX_STRING);
    check_string(block, facts->interp, BM_MAX_INTERP);
    check_string(block, facts->build_id, BM_MAX_NOTE_DESC);
    check_string(block, facts->go_build_id, BM_MAX_NOTE_DESC);
    check_string(block, facts->go_version, BM_MAX_GO_VERSION);
    check_string(block, facts->go_modinfo, BM_MAX_MODINFO);
    check_string(block, facts->shebang, BM_MAX_SHEBANG);
}

static void check_elf(const bm_block *block, const bm_facts *facts)
{
    const bm_segment *segment = check_list(block, facts->segments, sizeof *segment, BM_MAX_SEGMENTS);
    uint32_t loads = 0;
    for (uint32_t i = 0; i < facts->segments.count; i++)
        loads += segment[i].type == 1;
    HOLDS(facts->has_load == (loads > 0));
    HOLDS(facts->load_low <= facts->load_high);
    for (int page = 0; page < 2; page++)
        HOLDS(facts->page_incongruent[page] <= facts->page_incongruent[page + 1]);
    for (int page = 0; page < 2; page++)
        HOLDS(facts->page_overlap[page] <= facts->page_overlap[page + 1]);
    HOLDS((facts->max_align_common & (facts->max_align_common - 1)) == 0);
    HOLDS(facts->machine == facts->machine_le || facts->machine == facts->machine_be);
    HOLDS(facts->truncated == (facts->described_end > facts->file_size));
    HOLDS(!facts->static_pie || facts->pie);
    HOLDS(facts->read_class <= 2 && facts->read_data <= 2);
    HOLDS((facts->go_format == 0) == (facts->go_version.off == BM_NONE));
}

static void check_issues(const bm_block *block, const bm_facts *facts, uint32_t status)
{
    const bm_issue *issue = check_list(block, facts->issues, sizeof *issue, BM_MAX_ISSUES);
    HOLDS((status == BM_STATUS_MALFORMED) == (facts->issues.count > 0));
    HOLDS(facts->issue_first == (issue ? issue->code : 0));
    for (uint32_t i = 0; i < facts->issues.count; i++)
        HOLDS(issue[i].code >= 1 && issue[i].code <= BM_ISSUE_SECOND_DYNAMIC);
    if (status == BM_STATUS_OK && facts->format == BM_FORMAT_ELF) {
        HOLDS(facts->read_class == 1 || facts->read_class == 2);
        HOLDS(facts->read_data == 1 || facts->read_data == 2);
        HOLDS(facts->version == 1);
        HOLDS(!facts->truncated);
    }
}

void bm_check_facts(const bm_block *block, uint32_t offset, uint32_t status, uint64_t size)
{
    bm_facts facts;
    HOLDS(status == BM_STATUS_OK || status == BM_STATUS_MALFORMED);
    HOLDS(offset % 8 == 0 && bm_within(offset, sizeof facts, block->arena_len));
    memcpy(&facts, block->arena + offset, sizeof facts);
    HOLDS(facts.format <= BM_FORMAT_ARCHIVE);
    HOLDS(facts.file_size == size);
    HOLDS((facts.format == BM_FORMAT_EMPTY) == (size == 0));
    check_strings(block, &facts);
    check_lists(block, &facts);
    check_issues(block, &facts, status);
    if (facts.format == BM_FORMAT_ELF)
        check_elf(block, &facts);
    /* Nothing makes the arena grow out of proportion to the file but capped strings. */
    HOLDS(block->arena_len <= 4096 + 64 * size + BM_MAX_STRINGS + BM_MAX_MODINFO);
}

typedef struct {
    const uint8_t *data;
    size_t size;
} bytes;

/* At most 61 bytes at once, so that no table arrives in one piece. */
static int64_t read_pieces(void *context, uint64_t offset, uint8_t *destination, size_t length)
{
    const bytes *file = context;
    if (offset >= file->size)
        return 0;
    size_t left = file->size - (size_t)offset;
    length = length < left ? length : left;
    length = length < 61 ? length : 61;
    memcpy(destination, file->data + offset, length);
    return (int64_t)length;
}

static bm_block *read_and_check(bm_source *source, uint64_t size, uint32_t want, uint32_t view)
{
    bm_block *block = bm_block_new(0, 0, (bm_allocator){NULL, NULL});
    bm_arena arena = {block, {NULL, NULL}};
    uint32_t facts;
    HOLDS(block != NULL);
    uint32_t status = bm_read_facts(source, want, view, &arena, &facts);
    bm_check_facts(block, facts, status, size);
    return block;
}

static void check_view(const uint8_t *data, size_t size, uint32_t want, uint32_t view, uint8_t *buffer)
{
    bm_source source;
    bytes file = {data, size};
    bm_source_open_memory(&source, data, size);
    bm_block *whole = read_and_check(&source, size, want, view);
    bm_source_open(&source, size, read_pieces, &file, buffer);
    bm_block *pieces = read_and_check(&source, size, want, view);
    HOLDS(whole->arena_len == pieces->arena_len);
    HOLDS(memcmp(whole->arena, pieces->arena, (size_t)whole->arena_len) == 0);
    bm_block_free(whole);
    bm_block_free(pieces);
}

void bm_check_file(const uint8_t *data, size_t size)
{
    static const uint32_t views[] = {BM_VIEW_SPEC, BM_VIEW_ELF32_LE, BM_VIEW_ELF64_LE, BM_VIEW_ELF32_BE,
                                     BM_VIEW_ELF64_BE};
    uint8_t *buffer = malloc(BM_SOURCE_BUFFER);
    HOLDS(buffer != NULL);
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        check_view(data, size, BM_WANT_FACTS, views[i], buffer);
        check_view(data, size, BM_WANT_FACTS | BM_WANT_SYMBOLS, views[i], buffer);
    }
    free(buffer);
}

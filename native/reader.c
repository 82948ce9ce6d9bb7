/*
 * reader.c: recognises the format by its first bytes and hands the file to that reader.
 *
 * Purpose.    One bm_facts for each file, whatever the file is; see reader.h for the contract.
 * Ownership.  Facts are built on the stack and copied into the arena last, since the arena may move.
 * Threads.    None of its own.
 */
#include "reader.h"

#include "load.h"

#include <string.h>

static const bm_str ABSENT = {BM_NONE, 0};
static const bm_list NO_ITEMS = {BM_NONE, 0};

static void clear_facts(bm_facts *facts, uint64_t size)
{
    memset(facts, 0, sizeof *facts);
    facts->file_size = size;
    bm_list *lists[] = {&facts->issues,   &facts->segments, &facts->needed, &facts->verneeds,
                        &facts->verdefs,  &facts->symbols,  &facts->notes,  &facts->fat};
    bm_str *strings[] = {&facts->interp,   &facts->soname,      &facts->rpath,      &facts->runpath,
                         &facts->build_id, &facts->go_build_id, &facts->go_version, &facts->go_modinfo,
                         &facts->shebang};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        *lists[i] = NO_ITEMS;
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        *strings[i] = ABSENT;
}

void bm_reader_issue(bm_reader *reader, uint32_t code, uint64_t offset, uint64_t detail)
{
    if (bm_reader_stopped(reader) || reader->issue_count == BM_MAX_ISSUES)
        return;
    for (uint32_t i = 0; i < reader->issue_count; i++)
        if (reader->issues[i].code == code && reader->issues[i].offset == offset)
            return;
    bm_issue issue = {offset, code, detail > 0xffffffff ? 0xffffffff : (uint32_t)detail};
    if (reader->issue_count + 1 == BM_MAX_ISSUES && code != BM_ISSUE_CAPPED)
        issue = (bm_issue){offset, BM_ISSUE_CAPPED, BM_MAX_ISSUES};
    reader->issues[reader->issue_count++] = issue;
}

bool bm_reader_reserve(bm_reader *reader, uint64_t size, uint32_t *offset)
{
    *offset = reader->out_of_memory ? BM_NONE : bm_arena_reserve(reader->arena, size, 8);
    reader->out_of_memory = *offset == BM_NONE;
    return !reader->out_of_memory;
}

bool bm_reader_push(bm_reader *reader, bm_list *list, const void *item, uint32_t size)
{
    if (!reader->out_of_memory)
        reader->out_of_memory = !bm_arena_push(reader->arena, list, item, size);
    return !reader->out_of_memory;
}

bm_str bm_reader_keep(bm_reader *reader, uint64_t offset, uint64_t length)
{
    if (bm_reader_stopped(reader) || length >= BM_NONE || !bm_within(offset, length, reader->source->size))
        return ABSENT;
    bm_str result = {bm_arena_reserve(reader->arena, length, 1), (uint32_t)length};
    if (result.off == BM_NONE) {
        reader->out_of_memory = true;
        return ABSENT;
    }
    if (!bm_source_copy(reader->source, offset, bm_arena_at(reader->arena, result.off), (size_t)length))
        return ABSENT;
    return result;
}

int64_t bm_reader_strlen(bm_reader *reader, uint64_t offset, uint64_t most)
{
    uint64_t done = 0;
    size_t chunk = 64; /* most strings are short, and a short view rarely needs another window */
    while (done < most) {
        size_t length = most - done < chunk ? (size_t)(most - done) : chunk;
        const uint8_t *bytes = bm_view(reader->source, offset + done, length);
        if (!bytes)
            return -1;
        const uint8_t *end = memchr(bytes, 0, length);
        if (end)
            return (int64_t)(done + (uint64_t)(end - bytes));
        done += length;
        chunk = chunk * 4 < BM_VIEW_MOST ? chunk * 4 : BM_VIEW_MOST;
    }
    return -1;
}

/* The interpreter line: what follows "#!" up to the newline, the end of the file or the cap. */
static void read_script(bm_reader *reader)
{
    uint64_t left = reader->source->size - 2;
    size_t length = left < BM_MAX_SHEBANG ? (size_t)left : BM_MAX_SHEBANG;
    const uint8_t *bytes = bm_view(reader->source, 2, length);
    if (!bytes)
        return;
    const uint8_t *end = memchr(bytes, '\n', length);
    if (!end && left > BM_MAX_SHEBANG)
        bm_reader_issue(reader, BM_ISSUE_CAPPED, 2, left);
    reader->facts.shebang = bm_reader_keep(reader, 2, end ? (uint64_t)(end - bytes) : length);
}

static uint32_t format_of(bm_reader *reader)
{
    uint64_t size = reader->source->size;
    if (size == 0)
        return BM_FORMAT_EMPTY;
    const uint8_t *magic = bm_view(reader->source, 0, size < 8 ? (size_t)size : 8);
    if (!magic || size < 2)
        return BM_FORMAT_OTHER;
    if (magic[0] == '#' && magic[1] == '!')
        return BM_FORMAT_SCRIPT;
    if (size >= 4 && memcmp(magic, "\177ELF", 4) == 0)
        return BM_FORMAT_ELF;
    if (size >= 8 && memcmp(magic, "!<arch>\n", 8) == 0)
        return BM_FORMAT_ARCHIVE;
    if (magic[0] == 'M' && magic[1] == 'Z')
        return BM_FORMAT_PE;
    uint32_t word = size >= 4 ? bm_load32(magic, true) : 0;
    if (word == 0xfeedface || word == 0xfeedfacf || word == 0xcefaedfe || word == 0xcffaedfe)
        return BM_FORMAT_MACHO;
    return word == 0xcafebabe || word == 0xcafebabf ? BM_FORMAT_MACHO_FAT : BM_FORMAT_OTHER;
}

static void read_format(bm_reader *reader)
{
    bool is_so = true;
    reader->facts.format = format_of(reader);
    switch (reader->facts.format) {
    case BM_FORMAT_ELF:
        bm_read_elf(reader);
        break;
    case BM_FORMAT_SCRIPT:
        read_script(reader);
        break;
    case BM_FORMAT_PE:
        is_so = bm_read_pe(reader);
        break;
    case BM_FORMAT_MACHO:
        is_so = bm_read_macho(reader);
        break;
    case BM_FORMAT_MACHO_FAT:
        is_so = bm_read_macho_fat(reader);
        break;
    default:
        break;
    }
    if (!is_so)
        reader->facts.format = BM_FORMAT_OTHER;
}

static void store_issues(bm_reader *reader)
{
    uint32_t count = reader->issue_count;
    if (!count || !bm_reader_reserve(reader, count * sizeof(bm_issue), &reader->facts.issues.off))
        return;
    memcpy(bm_arena_at(reader->arena, reader->facts.issues.off), reader->issues, count * sizeof(bm_issue));
    reader->facts.issues.count = count;
    reader->facts.issue_first = reader->issues[0].code;
}

static uint32_t verdict(const bm_reader *reader)
{
    if (reader->out_of_memory)
        return BM_STATUS_NOMEM;
    if (reader->source->error)
        return reader->source->error == BM_SOURCE_SHRANK ? BM_STATUS_SHRANK : BM_STATUS_READ;
    return reader->issue_count ? BM_STATUS_MALFORMED : BM_STATUS_OK;
}

uint32_t bm_read_facts(bm_source *source, uint32_t want, uint32_t view, bm_arena *arena, uint32_t *facts)
{
    bm_reader reader;
    uint64_t mark = arena->block->arena_len;
    reader.source = source;
    reader.arena = arena;
    reader.want = want;
    reader.view = view;
    reader.out_of_memory = false;
    reader.issue_count = 0;
    reader.strings_left = BM_MAX_STRINGS;
    clear_facts(&reader.facts, source->size);
    read_format(&reader);
    store_issues(&reader);
    if (bm_reader_stopped(&reader) || !bm_reader_reserve(&reader, sizeof reader.facts, facts)) {
        arena->block->arena_len = mark;
        *facts = BM_NONE;
    } else {
        memcpy(bm_arena_at(arena, *facts), &reader.facts, sizeof reader.facts);
    }
    return verdict(&reader);
}

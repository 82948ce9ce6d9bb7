/*
 * reader.h: from the bytes of one file to one bm_facts.
 *
 * Purpose.    The entry to every format reader, and the state that they share.
 * Ownership.  The reader borrows source and arena. It asks nobody for memory but the arena, makes no
 *             system call but through the source, and keeps no global state.
 * Threads.    One call, one thread; any number of calls at once.
 */
#ifndef BM_READER_H
#define BM_READER_H

#include "block.h"
#include "source.h"

/*
 * Reads the facts of a file into the arena. `want` is a set of BM_WANT_FACTS and BM_WANT_SYMBOLS, `view`
 * one of BM_VIEW_…. Returns BM_STATUS_OK, or BM_STATUS_MALFORMED where the facts carry issues: then
 * *facts is the arena offset of a bm_facts. Returns BM_STATUS_READ, BM_STATUS_SHRANK (see the source's
 * error and error_offset) or BM_STATUS_NOMEM: then *facts is BM_NONE and the arena is as it was, for
 * half-read facts are not facts.
 */
uint32_t bm_read_facts(bm_source *source, uint32_t want, uint32_t view, bm_arena *arena, uint32_t *facts);

/* What follows is for the format readers alone. */

typedef struct {
    bm_source *source;
    bm_arena *arena;
    uint32_t want, view;
    bool out_of_memory;
    uint32_t issue_count;
    uint32_t strings_left; /* bytes of strings that may still be kept */
    bm_issue issues[BM_MAX_ISSUES];
    bm_facts facts; /* copied into the arena when it is complete */
} bm_reader;

/* Notes an issue, once for each code and offset; the first becomes the record's. */
void bm_reader_issue(bm_reader *reader, uint32_t code, uint64_t offset, uint64_t detail);

/* Room in the arena; false, and out_of_memory, where there is none. */
bool bm_reader_reserve(bm_reader *reader, uint64_t size, uint32_t *offset);
bool bm_reader_push(bm_reader *reader, bm_list *list, const void *item, uint32_t size);

/* Copies `length` bytes of the file into the arena; BM_NONE where they are not there. */
bm_str bm_reader_keep(bm_reader *reader, uint64_t offset, uint64_t length);

/* The bytes from `offset` to the first NUL among at most `most` bytes; -1 where there is none. */
int64_t bm_reader_strlen(bm_reader *reader, uint64_t offset, uint64_t most);

/* Whether reading must end: the source failed or memory ran out. */
static inline bool bm_reader_stopped(const bm_reader *reader)
{
    return reader->out_of_memory || reader->source->error;
}

/*
 * The format readers. Each is called when its magic has been seen; those that return false have found that
 * the file is of another kind after all.
 */
void bm_read_elf(bm_reader *reader);
bool bm_read_pe(bm_reader *reader);
bool bm_read_macho(bm_reader *reader);
bool bm_read_macho_fat(bm_reader *reader);

#endif

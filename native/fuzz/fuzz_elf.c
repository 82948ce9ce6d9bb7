/*
 * fuzz_elf.c: the libFuzzer target of the format readers.
 *
 * Purpose.    One execution is one read: the last byte, which is part of the file, chooses view and wants,
 *             so that the corpus consists of plain files. Built with -fsanitize=fuzzer,address,undefined.
 * Ownership.  One block is kept from run to run, as a batch keeps its own.
 * Threads.    libFuzzer runs one at a time.
 */
#include "invariants.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t views[] = {BM_VIEW_SPEC,     BM_VIEW_SPEC,     BM_VIEW_SPEC,     BM_VIEW_SPEC,
                                     BM_VIEW_ELF32_LE, BM_VIEW_ELF64_LE, BM_VIEW_ELF32_BE, BM_VIEW_ELF64_BE};
    static bm_block *block;
    bm_source source;
    uint32_t facts;
    uint8_t choice = size ? data[size - 1] : 0;
    if (!block)
        block = bm_block_new(0, 0, (bm_allocator){NULL, NULL});
    if (!block)
        abort();
    bm_arena arena = {block, {NULL, NULL}};
    block->arena_len = 0;
    bm_source_open_memory(&source, data, size);
    uint32_t want = choice & 8 ? BM_WANT_FACTS : BM_WANT_FACTS | BM_WANT_SYMBOLS;
    uint32_t status = bm_read_facts(&source, want, views[choice & 7], &arena, &facts);
    bm_check_facts(block, facts, status, size);
    return 0;
}

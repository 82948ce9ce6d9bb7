/*
 * invariants.h: what must hold of every bm_facts, whatever the file was.
 *
 * Purpose.    Shared by the fuzz target, its replay and the C tests: a reader that does not crash but hands
 *             out an offset outside the arena has failed as well.
 * Ownership.  Borrows the block.
 * Threads.    Pure.
 */
#ifndef BM_INVARIANTS_H
#define BM_INVARIANTS_H

#include "reader.h"

/* The facts at `offset` of the block's arena, for a file of `size` bytes read with `status`; aborts. */
void bm_check_facts(const bm_block *block, uint32_t offset, uint32_t status, uint64_t size);

/*
 * Reads a file from memory with every view and both sets of wants, and again through read_at in small
 * pieces, and checks all of it; aborts where anything does not hold or the two ways disagree.
 */
void bm_check_file(const uint8_t *data, size_t size);

#endif

/*
 * block.h: blocks of records with one arena, and the one place where memory is asked for.
 *
 * Purpose.    Records are of fixed size; whatever varies (strings, lists, facts) lies in the arena and is
 *             named by offset, so that an arena may move when it grows and a block can be copied whole.
 * Ownership.  A block belongs to whoever holds it. Inside one, everything comes from `bm_resize`, so a
 *             test can make the nth allocation fail; bm_block_free uses free(3).
 * Threads.    A block belongs to one thread at a time.
 */
#ifndef BM_BLOCK_H
#define BM_BLOCK_H

#include "bm.h"

#include <stdbool.h>

/* Like realloc(3), never called with size 0. What it returns must be fit for free(3). */
typedef void *(*bm_resize)(void *context, void *pointer, size_t size);

typedef struct {
    bm_resize resize; /* NULL: realloc(3) */
    void *context;
} bm_allocator;

typedef struct {
    bm_block *block;
    bm_allocator allocator;
} bm_arena;

/* A block with room for `capacity` records and `arena` bytes; NULL where there is no memory. */
bm_block *bm_block_new(uint32_t capacity, uint64_t arena, bm_allocator allocator);

/*
 * Room for `size` bytes at a multiple of `align` (1 to 8, a power of two), zeroed. Returns the offset, or
 * BM_NONE where memory or the 32-bit range of offsets is used up. Pointers into the arena die here.
 */
uint32_t bm_arena_reserve(bm_arena *arena, uint64_t size, uint32_t align);

/* A copy of `length` bytes; off is BM_NONE on failure. */
bm_str bm_arena_copy(bm_arena *arena, const void *bytes, uint32_t length);

/* Appends to a list whose items end where the arena does; the first item starts the list. */
bool bm_arena_push(bm_arena *arena, bm_list *list, const void *item, uint32_t size);

static inline void *bm_arena_at(const bm_arena *arena, uint32_t offset)
{
    return arena->block->arena + offset;
}

#endif

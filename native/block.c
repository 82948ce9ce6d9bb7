/*
 * block.c: see block.h.
 *
 * Purpose.    Growth by doubling keeps the cost of an arena linear; offsets stay below BM_NONE.
 * Ownership.  A block, its records and its arena are three allocations with one owner.
 * Threads.    None of its own.
 */
#include "block.h"

#include <stdlib.h>
#include <string.h>

static void *resize(bm_allocator allocator, void *pointer, size_t size)
{
    return allocator.resize ? allocator.resize(allocator.context, pointer, size) : realloc(pointer, size);
}

bm_block *bm_block_new(uint32_t capacity, uint64_t arena, bm_allocator allocator)
{
    bm_block *block = resize(allocator, NULL, sizeof *block);
    arena = arena < 64 ? 64 : arena; /* never NULL, so that empty copies need no special case */
    if (!block)
        return NULL;
    memset(block, 0, sizeof *block);
    block->capacity = capacity;
    block->arena_capacity = arena;
    block->records = capacity ? resize(allocator, NULL, capacity * sizeof *block->records) : NULL;
    block->arena = resize(allocator, NULL, (size_t)arena);
    if ((capacity && !block->records) || !block->arena) {
        bm_block_free(block);
        return NULL;
    }
    return block;
}

BM_API void bm_block_free(bm_block *block)
{
    if (!block)
        return;
    free(block->records);
    free(block->arena);
    free(block);
}

static bool grow(bm_arena *arena, uint64_t need)
{
    bm_block *block = arena->block;
    uint64_t capacity = block->arena_capacity * 2;
    if (capacity < need)
        capacity = need < 1024 ? 1024 : need;
    uint8_t *bytes = capacity <= SIZE_MAX ? resize(arena->allocator, block->arena, (size_t)capacity) : NULL;
    if (!bytes)
        return false;
    block->arena = bytes;
    block->arena_capacity = capacity;
    return true;
}

uint32_t bm_arena_reserve(bm_arena *arena, uint64_t size, uint32_t align)
{
    bm_block *block = arena->block;
    uint64_t start = (block->arena_len + align - 1) & ~(uint64_t)(align - 1);
    if (start >= BM_NONE || size >= BM_NONE - start)
        return BM_NONE;
    if (start + size > block->arena_capacity && !grow(arena, start + size))
        return BM_NONE;
    memset(block->arena + block->arena_len, 0, (size_t)(start + size - block->arena_len));
    block->arena_len = start + size;
    return (uint32_t)start;
}

bm_str bm_arena_copy(bm_arena *arena, const void *bytes, uint32_t length)
{
    bm_str result = {bm_arena_reserve(arena, length, 1), length};
    if (result.off == BM_NONE)
        result.len = 0;
    else if (length)
        memcpy(bm_arena_at(arena, result.off), bytes, length);
    return result;
}

bool bm_arena_push(bm_arena *arena, bm_list *list, const void *item, uint32_t size)
{
    uint32_t offset = bm_arena_reserve(arena, size, list->count ? 1 : 8);
    if (offset == BM_NONE)
        return false;
    memcpy(bm_arena_at(arena, offset), item, size);
    if (!list->count)
        list->off = offset;
    list->count++;
    return true;
}

/*
 * test_reader.c: what the reader does when something under it fails. Arguments are files.
 *
 * Purpose.    For each file: every allocation fails once, every read fails once (EIO, end of file), reads
 *             come in single bytes between EINTRs, every prefix of the file is read, and every byte is
 *             changed in four ways. Nothing may crash, leak, or give facts that do not hold.
 * Ownership.  Files are read into memory of exactly their size, so a sanitizer sees the first byte too many.
 * Threads.    None. Runs on any byte order: cross-compiled, it shows that the reader does not depend on it.
 */
#include "invariants.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: expected %s\n", __FILE__, __LINE__, current, #condition);                      \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static const char *current = "start";

typedef struct {
    const uint8_t *data;
    size_t size;
} bytes;

/* An allocator that fails its call number `fail_at`. */
typedef struct {
    int calls, fail_at;
} scarce;

static void *resize_scarcely(void *context, void *pointer, size_t size)
{
    scarce *state = context;
    return state->calls++ == state->fail_at ? NULL : realloc(pointer, size);
}

/* A reader of at most `most` bytes a call; call number `fail_at` gives `failure`, odd calls EINTR if asked. */
typedef struct {
    bytes file;
    size_t most;
    int calls, fail_at;
    int64_t failure;
    bool interrupted;
} unreliable;

static int64_t read_unreliably(void *context, uint64_t offset, uint8_t *destination, size_t length)
{
    unreliable *state = context;
    int call = state->calls++;
    if (call == state->fail_at)
        return state->failure;
    if (state->interrupted && call % 2)
        return -EINTR;
    if (offset >= state->file.size)
        return 0;
    size_t left = state->file.size - (size_t)offset;
    length = length < left ? length : left;
    length = length < state->most ? length : state->most;
    memcpy(destination, state->file.data + offset, length);
    return (int64_t)length;
}

static bm_block *read_memory(bytes file, uint32_t *status, uint32_t *facts)
{
    bm_source source;
    bm_block *block = bm_block_new(0, 0, (bm_allocator){NULL, NULL});
    bm_arena arena = {block, {NULL, NULL}};
    bm_source_open_memory(&source, file.data, file.size);
    *status = bm_read_facts(&source, BM_WANT_FACTS | BM_WANT_SYMBOLS, BM_VIEW_SPEC, &arena, facts);
    return block;
}

static void same(const bm_block *one, const bm_block *other)
{
    EXPECT(one->arena_len == other->arena_len);
    EXPECT(memcmp(one->arena, other->arena, (size_t)one->arena_len) == 0);
}

/* Fails allocation after allocation until none is left to fail. */
static void every_allocation(bytes file, const bm_block *expected)
{
    for (int n = 2;; n++) { /* 0 and 1 are the block's own */
        scarce state = {0, n};
        bm_allocator allocator = {resize_scarcely, &state};
        bm_block *block = bm_block_new(0, 0, allocator);
        bm_arena arena = {block, allocator};
        bm_source source;
        uint32_t facts;
        EXPECT(block != NULL);
        bm_source_open_memory(&source, file.data, file.size);
        uint32_t status =
            bm_read_facts(&source, BM_WANT_FACTS | BM_WANT_SYMBOLS, BM_VIEW_SPEC, &arena, &facts);
        bool failed = state.calls > n;
        EXPECT(!failed || (status == BM_STATUS_NOMEM && facts == BM_NONE && block->arena_len == 0));
        if (!failed)
            same(block, expected);
        bm_block_free(block);
        if (!failed)
            return;
    }
}

static void every_block_allocation(void)
{
    for (int n = 0; n < 3; n++) {
        scarce state = {0, n};
        EXPECT(bm_block_new(4, 64, (bm_allocator){resize_scarcely, &state}) == NULL);
    }
}

static bm_block *read_through(unreliable *state, bm_source *source, uint32_t *status, uint32_t *facts)
{
    static uint8_t buffer[BM_SOURCE_BUFFER];
    bm_block *block = bm_block_new(0, 0, (bm_allocator){NULL, NULL});
    bm_arena arena = {block, {NULL, NULL}};
    bm_source_open(source, state->file.size, read_unreliably, state, buffer);
    *status = bm_read_facts(source, BM_WANT_FACTS | BM_WANT_SYMBOLS, BM_VIEW_SPEC, &arena, facts);
    return block;
}

static void interrupted_single_bytes(bytes file, const bm_block *expected)
{
    uint32_t status, facts;
    bm_source source;
    unreliable state = {.file = file, .most = 1, .fail_at = -1, .interrupted = true};
    bm_block *block = read_through(&state, &source, &status, &facts);
    same(block, expected);
    bm_block_free(block);
}

/* Call after call fails, until the reader needs no more of them. */
static void every_read(bytes file, int64_t failure, uint32_t expected_status)
{
    for (int n = 0;; n++) {
        uint32_t status, facts;
        bm_source source;
        unreliable state = {.file = file, .most = 4096, .fail_at = n, .failure = failure};
        bm_block *block = read_through(&state, &source, &status, &facts);
        bool failed = state.calls > n;
        EXPECT(!failed || (status == expected_status && facts == BM_NONE && block->arena_len == 0));
        EXPECT(!failed || source.error == (failure ? EIO : BM_SOURCE_SHRANK));
        EXPECT(!failed || state.calls == n + 1); /* a failed file is left alone */
        bm_block_free(block);
        if (!failed)
            return;
    }
}

/* Reads a copy of exactly its size and checks what comes out. */
static void read_and_check(const uint8_t *data, size_t size)
{
    uint32_t status, facts;
    uint8_t *copy = malloc(size ? size : 1);
    EXPECT(copy != NULL);
    memcpy(copy, data, size);
    bm_block *block = read_memory((bytes){copy, size}, &status, &facts);
    bm_check_facts(block, facts, status, size);
    bm_block_free(block);
    free(copy);
}

static void every_prefix(bytes file)
{
    for (size_t size = 0; size < file.size; size += size < 1024 ? 1 : 61)
        read_and_check(file.data, size);
}

static void every_byte(bytes file)
{
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    uint8_t *copy = malloc(file.size);
    EXPECT(copy != NULL);
    memcpy(copy, file.data, file.size);
    for (size_t at = 0; at < file.size; at += at < 1024 ? 1 : 17) {
        for (size_t i = 0; i < sizeof masks; i++) {
            copy[at] = file.data[at] ^ masks[i];
            read_and_check(copy, file.size);
        }
        copy[at] = 0;
        read_and_check(copy, file.size);
        copy[at] = file.data[at];
    }
    free(copy);
}

/* Offsets have 32 bits: an arena that is full by that measure refuses, and stays as it was. */
static void full_arena(void)
{
    bm_block *block = bm_block_new(0, 0, (bm_allocator){NULL, NULL});
    bm_arena arena = {block, {NULL, NULL}};
    EXPECT(bm_arena_reserve(&arena, UINT64_MAX, 1) == BM_NONE);
    block->arena_len = (uint64_t)BM_NONE - 8;
    EXPECT(bm_arena_reserve(&arena, 16, 8) == BM_NONE);
    block->arena_len = (uint64_t)BM_NONE + 1;
    EXPECT(bm_arena_reserve(&arena, 0, 1) == BM_NONE);
    bm_block_free(block);
}

static void source_bounds(void)
{
    static const uint8_t data[16] = {1, 2, 3};
    uint8_t copy[16];
    bm_source source;
    bm_source_open_memory(&source, data, sizeof data);
    EXPECT(bm_view(&source, 0, 16) == data);
    EXPECT(bm_view(&source, 16, 0) == data + 16);
    EXPECT(bm_view(&source, 16, 1) == NULL);
    EXPECT(bm_view(&source, 1, SIZE_MAX) == NULL);
    EXPECT(bm_view(&source, UINT64_MAX, 2) == NULL);
    EXPECT(bm_source_copy(&source, 0, copy, 16) && memcmp(copy, data, 16) == 0);
    EXPECT(!bm_source_copy(&source, 8, copy, 9));
}

static bytes load(const char *path)
{
    FILE *stream = fopen(path, "rb");
    EXPECT(stream != NULL && fseek(stream, 0, SEEK_END) == 0);
    long size = ftell(stream);
    EXPECT(size > 0);
    rewind(stream);
    uint8_t *data = malloc((size_t)size);
    EXPECT(data != NULL && fread(data, 1, (size_t)size, stream) == (size_t)size);
    fclose(stream);
    return (bytes){data, (size_t)size};
}

static void test_file(const char *path)
{
    uint32_t status, facts;
    current = path;
    bytes file = load(path);
    bm_block *expected = read_memory(file, &status, &facts);
    bm_check_facts(expected, facts, status, file.size);
    EXPECT(status == BM_STATUS_OK);
    every_allocation(file, expected);
    interrupted_single_bytes(file, expected);
    every_read(file, -EIO, BM_STATUS_READ);
    every_read(file, 0, BM_STATUS_SHRANK);
    every_prefix(file);
    every_byte(file);
    bm_check_file(file.data, file.size);
    bm_block_free(expected);
    free((void *)(uintptr_t)file.data);
}

int main(int count, char **arguments)
{
    every_block_allocation();
    full_arena();
    source_bounds();
    for (int i = 1; i < count; i++)
        test_file(arguments[i]);
    printf("%d files tested\n", count - 1);
    return 0;
}

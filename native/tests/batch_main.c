/*
 * batch_main.c: batches under conditions that Python cannot bring about.
 *
 * Purpose.    Every nth allocation fails, for every n, over a tree with links, pipes and files of all
 *             sizes; cancelling at random moments; all under the sanitizers, the one for threads
 *             included. argv[1] is an empty directory to work in. Prints what failed; exit status 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "batch.h"

static int failures;

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            failures++;                                                                            \
            printf("%s:%d: ", __FILE__, __LINE__);                                                 \
            printf(__VA_ARGS__);                                                                   \
            putchar('\n');                                                                         \
        }                                                                                          \
    } while (0)

#define WANT (BM_WANT_FACTS | BM_WANT_SHA256 | BM_WANT_SHA512 | BM_WANT_SHA1)

static void write_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (!file) abort();
    for (size_t i = 0; i < size; i++) putc((int)(i * 7 + size), file);
    fclose(file);
}

/* 3 directories of 50 files, some large, with a link and a pipe each: 156 records without ALL_ENTRIES. */
#define RECORDS (3 * 51)

static void make_tree(void)
{
    char path[64];
    for (int dir = 0; dir < 3; dir++) {
        sprintf(path, "d%d", dir);
        if (mkdir(path, 0755) != 0) abort();
        for (int file = 0; file < 50; file++) {
            sprintf(path, "d%d/f%d", dir, file);
            write_file(path, file % 10 == 9 ? 200000 + (size_t)file * 1000 : (size_t)file * 97);
        }
        sprintf(path, "d%d/link", dir);
        if (symlink("f1", path) != 0) abort();
        sprintf(path, "d%d/pipe", dir);
        if (mkfifo(path, 0600) != 0) abort();
    }
}

typedef struct { atomic_long left; } failing;

static void *fail_after(void *context, void *pointer, size_t size)
{
    failing *self = context;
    if (atomic_fetch_sub(&self->left, 1) <= 0) return NULL;
    return realloc(pointer, size);
}

typedef struct { unsigned records, nomem; int error; } outcome;

static void count_block(bm_block *block, outcome *total)
{
    for (uint32_t i = 0; i < block->count; i++) {
        const bm_record *record = &block->records[i];
        bool complete = record->status == BM_STATUS_OK && record->kind == BM_KIND_REGULAR;
        CHECK((uint64_t)record->path.off + record->path.len <= block->arena_len, "a path outside its arena");
        CHECK(!complete || record->have == (WANT & WANT_DIGESTS), "an OK file without its digests");
        CHECK(record->status == BM_STATUS_OK || record->have == 0, "digests with status %u", record->status);
        total->records++;
        total->nomem += record->status == BM_STATUS_NOMEM;
    }
    bm_block_free(block);
}

static outcome run(bm_batch *batch, int blocks_before_cancel)
{
    outcome total = {0};
    for (int state; (state = bm_batch_wait(batch, 50)) != BM_BATCH_DONE;) {
        bm_block *block = state == BM_BATCH_READY ? bm_batch_take(batch) : NULL;
        if (block) count_block(block, &total);
        if (blocks_before_cancel-- == 0) bm_batch_cancel(batch);
    }
    total.error = bm_batch_error(batch);
    return total;
}

/* Returns whether the batch went through: with memory, or with files marked as NOMEM. */
static bool run_with(failing *context, uint32_t threads)
{
    bm_batch *batch = bm_batch_open_with((bm_allocator){fail_after, context}, WANT, threads);
    if (!batch) return false;
    int error = bm_batch_add_tree(batch, ".", 1);
    if (!error) error = bm_batch_add(batch, "d0/f0", 5);
    if (!error) error = bm_batch_start(batch);
    outcome total = error ? (outcome){0, 0, error} : run(batch, -1);
    bm_batch_close(batch);
    CHECK(total.error == 0 || total.error == ENOMEM, "got error %d, expected ENOMEM", total.error);
    CHECK(total.error || total.records == RECORDS + 1, "no error, but %u records", total.records);
    return total.error == 0 && total.nomem == 0;
}

static void test_allocation(uint32_t threads)
{
    long n = 0;
    for (bool through = false; !through && n < 5000; n++) {
        failing context = {n};
        through = run_with(&context, threads);
    }
    CHECK(n < 5000, "never succeeded");
    printf("%u threads: %ld allocations failed one after the other\n", threads, n - 1);
}

static void test_cancel(void)
{
    for (int after = 0; after < 6; after++) {
        bm_batch *batch = bm_batch_open(WANT, 3);
        if (!batch || bm_batch_add_tree(batch, ".", 1) || bm_batch_start(batch)) abort();
        outcome total = run(batch, after);
        CHECK(total.error == 0 || total.error == ECANCELED, "got error %d after cancelling", total.error);
        bm_batch_close(batch);
    }
    bm_batch *unstarted = bm_batch_open(WANT, 1);
    CHECK(unstarted && bm_batch_add(unstarted, "a\0b", 3) == EINVAL, "a path with a NUL was taken");
    bm_batch_close(unstarted);
    bm_batch_close(NULL);
}

int main(int argc, char **argv)
{
    if (argc != 2 || chdir(argv[1]) != 0) return 2;
    make_tree();
    test_allocation(1);
    test_allocation(4);
    test_cancel();
    printf("%d failures\n", failures);
    return failures != 0;
}

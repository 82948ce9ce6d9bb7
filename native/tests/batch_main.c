/*
 * batch_main.c: batches under conditions that Python cannot bring about.
 *
 * Purpose.    Every nth allocation fails, for every n, over a tree with links, pipes and files of all
 *             sizes; so does every nth open, read, look and submission; calls are interrupted and give
 *             less than was asked for; cancelling at random moments; all under the sanitizers, the
 *             one for threads included. Linked with --wrap for what sys.h declares. argv[1] is an
 *             empty directory to work in. Prints what failed; exit status 1.
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

/* Faults: the nth call of one kind fails with an errno; where `stutter` is set, every second call is
 * interrupted, and reads give a third. */
typedef enum { NOTHING, OPEN, READ, PREAD, STAT, SETUP, REGISTER, ENTER } call;
static struct { call kind; int error; atomic_int left; } fault;
static atomic_bool stutter;
static atomic_uint calls, entered;

static bool due(call kind)
{
    if (kind == fault.kind && atomic_fetch_sub(&fault.left, 1) == 0) {
        errno = fault.error;
        return true;
    }
    bool interrupted = atomic_load(&stutter) && atomic_fetch_add(&calls, 1) % 2 == 0;
    if (interrupted) errno = EINTR;
    return interrupted;
}

static size_t part(size_t size) { return atomic_load(&stutter) && size > 3 ? size / 3 : size; }

int __real_bm_sys_open(int base, const char *path, int flags);
ssize_t __real_bm_sys_read(int fd, void *to, size_t size);
ssize_t __real_bm_sys_pread(int fd, void *to, size_t size, uint64_t offset);
int __real_bm_sys_fstat(int fd, struct stat *stat);
int __real_bm_sys_ring_setup(uint32_t entries, void *params);
int __real_bm_sys_ring_register(int fd, uint32_t operation, void *argument, uint32_t count);
int __real_bm_sys_ring_enter(int fd, uint32_t submit, uint32_t wait);

int __wrap_bm_sys_open(int base, const char *path, int flags);
ssize_t __wrap_bm_sys_read(int fd, void *to, size_t size);
ssize_t __wrap_bm_sys_pread(int fd, void *to, size_t size, uint64_t offset);
int __wrap_bm_sys_fstat(int fd, struct stat *stat);
int __wrap_bm_sys_ring_setup(uint32_t entries, void *params);
int __wrap_bm_sys_ring_register(int fd, uint32_t operation, void *argument, uint32_t count);
int __wrap_bm_sys_ring_enter(int fd, uint32_t submit, uint32_t wait);

int __wrap_bm_sys_open(int base, const char *path, int flags)
{
    return due(OPEN) ? -1 : __real_bm_sys_open(base, path, flags);
}
ssize_t __wrap_bm_sys_read(int fd, void *to, size_t size)
{
    return due(READ) ? -1 : __real_bm_sys_read(fd, to, part(size));
}
ssize_t __wrap_bm_sys_pread(int fd, void *to, size_t size, uint64_t offset)
{
    return due(PREAD) ? -1 : __real_bm_sys_pread(fd, to, part(size), offset);
}
int __wrap_bm_sys_fstat(int fd, struct stat *stat)
{
    return fault.kind == STAT && due(STAT) ? -1 : __real_bm_sys_fstat(fd, stat);
}
int __wrap_bm_sys_ring_setup(uint32_t entries, void *params)
{
    return fault.kind == SETUP && due(SETUP) ? -1 : __real_bm_sys_ring_setup(entries, params);
}
int __wrap_bm_sys_ring_register(int fd, uint32_t operation, void *argument, uint32_t count)
{
    if (fault.kind == REGISTER && due(REGISTER)) return -1;
    return __real_bm_sys_ring_register(fd, operation, argument, count);
}
int __wrap_bm_sys_ring_enter(int fd, uint32_t submit, uint32_t wait)
{
    if (due(ENTER)) return -1;
    atomic_fetch_add(&entered, 1);
    return __real_bm_sys_ring_enter(fd, submit, wait);
}

/* What a scan found, whatever the order: `sum` is of paths, formats and digests. */
typedef struct { unsigned records, failed; uint64_t sum; bm_progress progress; } found;

static uint64_t mix(uint64_t sum, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * 0x100000001b3u;
    return sum;
}

static void add_record(const bm_block *block, const bm_record *record, found *total)
{
    bool failed = record->status != BM_STATUS_OK && record->status != BM_STATUS_MALFORMED;
    CHECK(!failed || (record->facts == BM_NONE && record->have == 0), "status %u with results", record->status);
    uint64_t sum = mix(1, block->arena + record->path.off, record->path.len);
    if (record->facts != BM_NONE) sum = mix(sum, block->arena + record->facts, sizeof(uint32_t));
    total->sum += mix(sum, record->sha256, sizeof record->sha256);
    total->records++;
    total->failed += failed;
}

static found scan(const char *root, uint32_t want)
{
    found total = {0};
    bm_batch *batch = bm_batch_open(want, 2);
    if (!batch || bm_batch_add_tree(batch, root, strlen(root)) || bm_batch_start(batch)) abort();
    for (int state; (state = bm_batch_wait(batch, 50)) != BM_BATCH_DONE;) {
        bm_block *block = state == BM_BATCH_READY ? bm_batch_take(batch) : NULL;
        for (uint32_t i = 0; block && i < block->count; i++) add_record(block, &block->records[i], &total);
        bm_block_free(block);
    }
    CHECK(bm_batch_error(batch) == 0, "the batch ended with %d", bm_batch_error(batch));
    bm_batch_progress(batch, &total.progress);
    bm_batch_close(batch);
    return total;
}

/* Fails one call after the other until there is none left to fail; returns how many there were. */
static int every_call(const char *root, uint32_t want, call kind, int error, const found *expected, bool recovers)
{
    for (int n = 0; n < 5000; n++) {
        fault.kind = kind, fault.error = error, atomic_store(&fault.left, n);
        found got = scan(root, want);
        fault.kind = NOTHING;
        if (atomic_load(&fault.left) >= 0) return n;
        CHECK(got.records == expected->records + (want & BM_WANT_RECOGNISED && !recovers ? got.failed : 0),
              "call %d of kind %d: got %u records, expected %u", n, kind, got.records, expected->records);
        CHECK(got.failed <= 1 && (!recovers || (got.failed == 0 && got.sum == expected->sum)),
              "call %d of kind %d: %u failures, or other results", n, kind, got.failed);
    }
    CHECK(false, "kind %d never came to an end", kind);
    return 0;
}

static void test_faults(void)
{
    const uint32_t wants[] = {BM_WANT_FACTS | BM_WANT_SHA256, BM_WANT_FACTS};
    for (int i = 0; i < 2; i++) {
        found expected = scan("tree", wants[i]);
        CHECK(expected.records == RECORDS && expected.failed == 0, "%u records", expected.records);
        atomic_store(&stutter, true);
        found got = scan("tree", wants[i]);
        atomic_store(&stutter, false);
        CHECK(got.sum == expected.sum && got.failed == 0, "short and interrupted calls: other results");
        int opens = every_call("tree", wants[i], OPEN, EIO, &expected, false);
        int reads = every_call("tree", wants[i], i ? PREAD : READ, EIO, &expected, false);
        int looks = every_call("tree", wants[i], STAT, EIO, &expected, false);
        CHECK(opens >= 150 && reads >= 140 && looks >= 150, "%d opens, %d reads, %d looks", opens, reads, looks);
        printf("%d opens, %d reads and %d looks failed one after the other\n", opens, reads, looks);
    }
}

/* 1600 files, every hundredth a script: enough for a ring in each of two threads. */
static void make_wide(void)
{
    char path[64];
    if (mkdir("wide", 0755) != 0) abort();
    for (int number = 0; number < 1600; number++) {
        sprintf(path, "wide/%04d", number);
        FILE *file = fopen(path, "wb");
        if (!file) abort();
        fputs(number % 100 ? "text" : "#!/bin/sh\n", file);
        fclose(file);
    }
    if (mkfifo("wide/pipe", 0600) != 0 || symlink("0000", "wide/link") != 0) abort();
}

static void test_ring(void)
{
    const uint32_t want = BM_WANT_FACTS | BM_WANT_RECOGNISED;
    bm_ring_forbid(1);
    found expected = scan("wide", want);
    CHECK(expected.records == 16 && expected.progress.files == 1600 && entered == 0, "without a ring: %u records",
          expected.records);
    bm_ring_forbid(0);
    found got = scan("wide", want);
    CHECK(got.sum == expected.sum && got.progress.files == 1600, "with a ring: other results");
    printf("ring: %s\n", entered ? "used" : "refused by this kernel");
    atomic_store(&stutter, true);
    got = scan("wide", want);
    atomic_store(&stutter, false);
    CHECK(got.sum == expected.sum && got.progress.files == 1600, "interrupted calls: other results");
    const struct { call kind; int error; } faults[] = {{SETUP, EPERM}, {SETUP, ENOSYS}, {SETUP, ENOMEM},
                                                       {REGISTER, EINVAL}, {ENTER, EIO}, {ENTER, EAGAIN}};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        int count = every_call("wide", want, faults[i].kind, faults[i].error, &expected, true);
        CHECK(count > 0 || !entered, "kind %d was never called", faults[i].kind);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2 || chdir(argv[1]) != 0 || mkdir("tree", 0755) != 0 || chdir("tree") != 0) return 2;
    make_tree();
    test_allocation(1);
    test_allocation(4);
    test_cancel();
    if (chdir("..") != 0) return 2;
    make_wide();
    test_faults();
    test_ring();
    printf("%d failures\n", failures);
    return failures != 0;
}

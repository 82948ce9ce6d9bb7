/*
 * batch.c: the life of a batch and the queue of finished blocks; batch.h has the whole picture.
 *
 * Purpose.    open, add, start, wait, take, cancel, close. The caller's thread never works and never
 *             blocks longer than it asked for, so that Ctrl-C and progress stay in its hands.
 * Ownership.  bm_batch_close frees everything but the blocks already taken.
 * Threads.    One caller, `threads` workers.
 */
#include "batch.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MOST 256
#define SIZED_ROOTS_MOST 1024 /* lists up to this length are ordered by size ahead */

static void *resize(bm_allocator allocator, void *pointer, size_t size)
{
    return allocator.resize ? allocator.resize(allocator.context, pointer, size) : realloc(pointer, size);
}

void *bm_batch_alloc(bm_batch *batch, size_t size) { return resize(batch->allocator, NULL, size); }

static uint32_t processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > THREADS_MOST ? THREADS_MOST : (uint32_t)count;
}

static void condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* The lock is held for a few instructions at a time: where that can be had, waiting for it begins with spinning. */
static void lock_init(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
#ifdef __GLIBC__
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
    pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

bm_batch *bm_batch_open_with(bm_allocator allocator, uint32_t want, uint32_t threads)
{
    bm_batch *batch = resize(allocator, NULL, sizeof *batch);
    if (!batch) return NULL;
    memset(batch, 0, sizeof *batch);
    batch->allocator = allocator;
    batch->want = want & BM_WANT_SYMBOLS ? want | BM_WANT_FACTS : want;
    batch->threads = threads == 0 ? processors() : threads > THREADS_MOST ? THREADS_MOST : threads;
    batch->last = &batch->first;
    lock_init(&batch->lock);
    condition_init(&batch->work);
    condition_init(&batch->room);
    condition_init(&batch->result);
    return batch;
}

bm_batch *bm_batch_open(uint32_t want, uint32_t threads)
{
    return bm_batch_open_with((bm_allocator){NULL, NULL}, want, threads);
}

static int add_root(bm_batch *batch, const char *path, size_t length, bool tree)
{
    if (batch->started) return EBUSY;
    if (memchr(path, 0, length)) return EINVAL;
    if (batch->root_count == batch->root_capacity) {
        uint32_t capacity = batch->root_capacity ? 2 * batch->root_capacity : 16;
        bm_root *roots = resize(batch->allocator, batch->roots, capacity * sizeof *roots);
        if (!roots) return ENOMEM;
        batch->roots = roots, batch->root_capacity = capacity;
    }
    char *copy = bm_batch_alloc(batch, length + 1);
    if (!copy) return ENOMEM;
    memcpy(copy, path, length);
    copy[length] = 0;
    batch->roots[batch->root_count++] = (bm_root){.path = copy, .tree = tree, .type = DT_UNKNOWN, .fd = -1};
    return 0;
}

int bm_batch_add(bm_batch *batch, const char *path, size_t length) { return add_root(batch, path, length, false); }
int bm_batch_add_tree(bm_batch *batch, const char *path, size_t length) { return add_root(batch, path, length, true); }

int bm_batch_add_list(bm_batch *batch, const char *paths, size_t length)
{
    int error = 0;
    for (size_t at = 0; at <= length && error == 0;) {
        const char *end = memchr(paths + at, 0, length - at);
        size_t own = end ? (size_t)(end - (paths + at)) : length - at;
        error = add_root(batch, paths + at, own, false);
        at += own + 1;
    }
    return error;
}

typedef struct { uint64_t size; uint32_t root; } sized_root;

static int by_size(const void *left, const void *right)
{
    const sized_root *a = left, *b = right;
    if (a->size != b->size) return a->size < b->size ? 1 : -1;
    return a->root < b->root ? -1 : 1;
}

/* The size of a file; whether it is a regular one is remembered, so that it is asked only once. */
static uint64_t size_of(bm_root *root)
{
    struct stat found;
    if (root->tree || stat(root->path, &found) != 0) return 0;
    if (S_ISREG(found.st_mode)) root->type = DT_REG;
    return (uint64_t)found.st_size;
}

/* The roots in the order of work, as 32-bit numbers: longest first where sizes are cheap to learn. */
static bool order_roots(bm_batch *batch, uint32_t *order)
{
    bool sized = (batch->want & WANT_DIGESTS) && batch->root_count <= SIZED_ROOTS_MOST;
    sized_root *items = sized ? bm_batch_alloc(batch, batch->root_count * sizeof *items) : NULL;
    if (sized && !items) return false;
    for (uint32_t i = 0; i < batch->root_count; i++) {
        order[i] = i;
        if (sized) items[i] = (sized_root){size_of(&batch->roots[i]), i};
    }
    if (sized) qsort(items, batch->root_count, sizeof *items, by_size);
    for (uint32_t i = 0; sized && i < batch->root_count; i++) order[i] = items[i].root;
    free(items);
    return true;
}

static bool push_roots(bm_batch *batch)
{
    uint32_t *order;
    bm_task *task = bm_task_new(batch, TASK_ROOTS, NULL, batch->root_count * (uint32_t)sizeof *order);
    if (!task) return false;
    order = (uint32_t *)(void *)task->names;
    if (!order_roots(batch, order)) {
        bm_task_free(batch, task);
        return false;
    }
    task->count = batch->root_count;
    bm_task_push(batch, task);
    return true;
}

int bm_batch_start(bm_batch *batch)
{
    if (batch->started) return EBUSY;
    batch->started = true;
    if (batch->root_count == 0) return 0;
    batch->thread = bm_batch_alloc(batch, batch->threads * sizeof *batch->thread);
    if (!batch->thread || !push_roots(batch)) {
        batch->error = ENOMEM;
        return ENOMEM;
    }
    pthread_mutex_lock(&batch->lock);
    int error = 0;
    while (batch->running < batch->threads && error == 0) {
        error = pthread_create(&batch->thread[batch->running], NULL, bm_worker_main, batch);
        if (error == 0) batch->running++;
    }
    batch->threads = batch->busy = batch->joinable = batch->running;
    pthread_mutex_unlock(&batch->lock);
    if (batch->threads == 0) batch->error = error;
    return batch->threads ? 0 : error;
}

/* The end of this worker: with the last one the caller learns that no block will follow. */
void bm_batch_leave(bm_batch *batch)
{
    pthread_mutex_lock(&batch->lock);
    batch->running--;
    pthread_cond_broadcast(&batch->work);
    pthread_cond_broadcast(&batch->result);
    pthread_mutex_unlock(&batch->lock);
}

void bm_batch_fail(bm_batch *batch, int error)
{
    pthread_mutex_lock(&batch->lock);
    if (!batch->error) batch->error = error;
    atomic_store(&batch->cancelled, true);
    pthread_cond_broadcast(&batch->work);
    pthread_cond_broadcast(&batch->room);
    pthread_cond_broadcast(&batch->result);
    pthread_mutex_unlock(&batch->lock);
}

bool bm_batch_stopped(bm_batch *batch) { return atomic_load_explicit(&batch->cancelled, memory_order_relaxed); }

/* Waits for room in the queue; the block is freed where the batch was cancelled meanwhile. */
bool bm_batch_put(bm_batch *batch, bm_block *block)
{
    pthread_mutex_lock(&batch->lock);
    while (batch->queued >= 2 * batch->threads + 2 && !bm_batch_stopped(batch))
        pthread_cond_wait(&batch->room, &batch->lock);
    bool kept = !bm_batch_stopped(batch);
    if (kept) {
        block->next = NULL;
        *batch->last = block;
        batch->last = &block->next;
        batch->queued++;
        pthread_cond_signal(&batch->result);
    }
    pthread_mutex_unlock(&batch->lock);
    if (!kept) bm_block_free(block);
    return kept;
}

static struct timespec deadline(uint32_t milliseconds)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += milliseconds / 1000;
    time.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (time.tv_nsec >= 1000000000) time.tv_sec++, time.tv_nsec -= 1000000000;
    return time;
}

int bm_batch_wait(bm_batch *batch, uint32_t milliseconds)
{
    struct timespec until = deadline(milliseconds);
    pthread_mutex_lock(&batch->lock);
    int late = 0;
    while (!batch->first && batch->running && late != ETIMEDOUT)
        late = pthread_cond_timedwait(&batch->result, &batch->lock, &until);
    int state = batch->first ? BM_BATCH_READY : batch->running ? BM_BATCH_RUNNING : BM_BATCH_DONE;
    pthread_mutex_unlock(&batch->lock);
    return state;
}

bm_block *bm_batch_take(bm_batch *batch)
{
    pthread_mutex_lock(&batch->lock);
    bm_block *block = batch->first;
    if (block) {
        batch->first = block->next;
        if (!batch->first) batch->last = &batch->first;
        batch->queued--;
        block->next = NULL;
        pthread_cond_broadcast(&batch->room);
    }
    pthread_mutex_unlock(&batch->lock);
    return block;
}

void bm_batch_cancel(bm_batch *batch) { bm_batch_fail(batch, ECANCELED); }

int bm_batch_error(bm_batch *batch)
{
    pthread_mutex_lock(&batch->lock);
    int error = batch->error;
    pthread_mutex_unlock(&batch->lock);
    return error;
}

void bm_batch_progress(bm_batch *batch, bm_progress *progress)
{
    progress->files = atomic_load(&batch->files);
    progress->directories = atomic_load(&batch->directories);
    progress->bytes = atomic_load(&batch->bytes);
    progress->errors = atomic_load(&batch->errors);
}

static void free_leftovers(bm_batch *batch)
{
    for (bm_task *task = bm_task_pop(batch); task; task = bm_task_pop(batch)) bm_task_free(batch, task);
    for (bm_large file; bm_large_take(batch, &file); free(file.path)) bm_sys_close(file.fd);
    for (bm_block *block = bm_batch_take(batch); block; block = bm_batch_take(batch)) bm_block_free(block);
    for (uint32_t i = 0; i < batch->root_count; i++) {
        if (batch->roots[i].fd >= 0) bm_sys_close(batch->roots[i].fd);
        free(batch->roots[i].path);
    }
}

void bm_batch_close(bm_batch *batch)
{
    if (!batch) return;
    bm_batch_cancel(batch);
    for (uint32_t i = 0; i < batch->joinable; i++) pthread_join(batch->thread[i], NULL);
    free_leftovers(batch);
    pthread_cond_destroy(&batch->work);
    pthread_cond_destroy(&batch->room);
    pthread_cond_destroy(&batch->result);
    pthread_mutex_destroy(&batch->lock);
    free(batch->thread);
    free(batch->roots);
    free(batch);
}

/*
 * thread.c: the life of one worker.
 *
 * Purpose.    Take what is on top of the stack; when there is nothing, finish what is in hand, stream
 *             the large files that have gathered, and wait for more.
 * Ownership.  A worker's buffers live as long as its thread.
 * Threads.    This is one.
 */
#include "batch.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Makes sure that one more record fits and that the pool takes one more file. */
void bm_worker_room(bm_worker *worker)
{
    const bm_block *block = worker->arena.block;
    bool full = block && (block->count == BLOCK_RECORDS || block->arena_len >= BLOCK_ARENA);
    if (full || worker->pool.count == POOL_FILES) bm_worker_flush(worker);
}

static void run_root(bm_worker *worker, uint32_t root, bm_folder *folder)
{
    const bm_root *self = &worker->batch->roots[root];
    bm_place place = {.root = root, .name = self->path};
    if (self->tree) {
        bm_walk_root(worker, root);
        return;
    }
    bm_folder_find(folder, &place);
    bm_worker_file(worker, &place, self->type);
}

/* A few roots: one where few are left, so that the last ones are shared. The rest of the list goes back
 * on the stack first, for the other workers. */
static void run_roots(bm_worker *worker, bm_task *task)
{
    bm_batch *batch = worker->batch;
    uint32_t order[TASK_NAMES], left = task->count - task->first, count = left / (8 * batch->threads);
    count = count < 1 ? 1 : count > TASK_NAMES ? TASK_NAMES : count;
    memcpy(order, task->names + task->first * sizeof *order, count * sizeof *order);
    task->first += count;
    if (task->first < task->count) bm_task_push(batch, task);
    else bm_task_free(batch, task);
    bm_folder folder = BM_NO_FOLDER;
    for (uint32_t i = 0; i < count && !bm_batch_stopped(batch); i++) run_root(worker, order[i], &folder);
    bm_folder_end(&folder);
}

static void run_files(bm_worker *worker, bm_task *task)
{
    uint8_t type;
    bm_place place = {.dir = task->dir, .root = task->dir->root, .base = task->dir->fd};
    uint32_t dismissed = bm_screen_names(worker, task);
    for (; !bm_batch_stopped(worker->batch) && (place.name = bm_task_name(task, &type)) != NULL; dismissed >>= 1) {
        place.leaf = place.name;
        if (!(dismissed & 1)) bm_worker_file(worker, &place, type);
    }
}

#define NAME_BYTES 4097 /* PATH_MAX and one more */

/* One directory; its siblings go back on the stack first, below whatever it holds. */
static void run_dirs(bm_worker *worker, bm_task *task)
{
    uint8_t type;
    char name[NAME_BYTES];
    const char *found = bm_task_name(task, &type);
    size_t length = strlen(found);
    if (length >= sizeof name) length = sizeof name - 1; /* no path can hold it: opening it will say so */
    memcpy(name, found, length);
    name[length] = 0;
    bm_dir *parent = task->dir;
    bm_dir_hold(worker->batch, parent);
    if (task->count) bm_task_push(worker->batch, task);
    else bm_task_free(worker->batch, task);
    bm_walk_dir(worker, parent, name);
    bm_dir_release(worker->batch, parent, false);
}

static void run(bm_worker *worker, bm_task *task)
{
    switch (task->kind) {
    case TASK_DIRS:
        run_dirs(worker, task); /* frees the task or pushes it again */
        return;
    case TASK_ROOTS:
        run_roots(worker, task); /* likewise */
        return;
    case TASK_FILES:
        run_files(worker, task);
        break;
    case TASK_MORE:
        bm_walk_more(worker, task->dir);
        break;
    }
    bm_task_free(worker->batch, task);
}

static bool start(bm_worker *worker, bm_batch *batch)
{
    memset(worker, 0, sizeof *worker);
    worker->batch = batch;
    worker->arena.allocator = batch->allocator;
    worker->pool_bytes = bm_batch_alloc(batch, POOL_BYTES + 1);
    worker->window = bm_batch_alloc(batch, BM_SOURCE_BUFFER);
    worker->listing = bm_batch_alloc(batch, LISTING_BYTES);
    return worker->pool_bytes && worker->window && worker->listing;
}

static void finish(bm_worker *worker)
{
    bm_ring_end(&worker->ring);
    bm_block_free(worker->arena.block);
    free(worker->pool_bytes);
    free(worker->window);
    free(worker->listing);
    bm_batch_leave(worker->batch);
}

static void work(bm_worker *worker)
{
    for (bm_task *task; !bm_batch_stopped(worker->batch);) {
        task = bm_task_pop(worker->batch);
        if (!task) {
            bm_worker_flush(worker);
            bm_emit_hand_on(worker, true);
            if (!bm_task_wait(worker->batch, &task)) return;
        }
        if (task) run(worker, task);
        else bm_stream_run(worker, NULL);
    }
}

void *bm_worker_main(void *batch)
{
    bm_worker worker;
    if (start(&worker, batch)) work(&worker);
    else bm_batch_fail(batch, ENOMEM);
    finish(&worker);
    return NULL;
}

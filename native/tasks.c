/*
 * tasks.c: what is still to be done: a stack of names, and the large files that wait for lanes.
 *
 * Purpose.    Last in, first out: files of the directory just listed come before its subdirectories
 *             and those before its siblings, so pending names grow with depth and not with the tree.
 * Ownership.  A task holds a reference to its directory; one of files or of a listing to be
 *             continued also holds its descriptor.
 * Threads.    Everything here takes the batch's lock.
 */
#include "batch.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool needs_descriptor(bm_task_kind kind) { return kind == TASK_FILES || kind == TASK_MORE; }

bm_task *bm_task_new(bm_batch *batch, bm_task_kind kind, bm_dir *dir, uint32_t capacity)
{
    bm_task *task = bm_batch_alloc(batch, sizeof *task + capacity);
    if (!task) return NULL;
    *task = (bm_task){.kind = kind, .dir = dir, .capacity = capacity};
    if (!dir) return task;
    pthread_mutex_lock(&batch->lock);
    dir->references++;
    if (needs_descriptor(kind)) dir->readers++;
    pthread_mutex_unlock(&batch->lock);
    return task;
}

void bm_task_free(bm_batch *batch, bm_task *task)
{
    if (task->dir) bm_dir_release(batch, task->dir, needs_descriptor(task->kind));
    free(task);
}

bool bm_task_add(bm_task *task, uint8_t type, const char *name)
{
    size_t length = strlen(name) + 1;
    if (length + 1 > task->capacity - task->used) return false;
    task->names[task->used] = (char)type;
    memcpy(task->names + task->used + 1, name, length);
    task->used += (uint32_t)length + 1;
    task->count++;
    return true;
}

/* The next name, or NULL; belongs to the task. */
const char *bm_task_name(bm_task *task, uint8_t *type)
{
    if (task->count == 0) return NULL;
    const char *name = task->names + task->at + 1;
    *type = (uint8_t)task->names[task->at];
    task->at += (uint32_t)strlen(name) + 2;
    task->count--;
    return name;
}

void bm_task_push(bm_batch *batch, bm_task *task)
{
    pthread_mutex_lock(&batch->lock);
    task->below = batch->top;
    batch->top = task;
    pthread_cond_signal(&batch->work);
    pthread_mutex_unlock(&batch->lock);
}

static bm_task *pop(bm_batch *batch)
{
    bm_task *task = batch->top;
    if (task) batch->top = task->below;
    return task;
}

bm_task *bm_task_pop(bm_batch *batch)
{
    pthread_mutex_lock(&batch->lock);
    bm_task *task = pop(batch);
    pthread_mutex_unlock(&batch->lock);
    return task;
}

/*
 * Waits until there is a task or a large file, and returns true with *task NULL for the latter; false
 * at the end. The batch ends when there is neither and no worker that could still find one.
 */
bool bm_task_wait(bm_batch *batch, bm_task **task)
{
    pthread_mutex_lock(&batch->lock);
    batch->busy--;
    while (!batch->top && !batch->large_count && batch->busy && !bm_batch_stopped(batch))
        pthread_cond_wait(&batch->work, &batch->lock);
    bool more = !bm_batch_stopped(batch) && (batch->top || batch->large_count);
    *task = more ? pop(batch) : NULL;
    if (more) batch->busy++;
    else pthread_cond_broadcast(&batch->work);
    pthread_mutex_unlock(&batch->lock);
    return more;
}

/* Keeps the memory of a directory, not its descriptor. */
void bm_dir_hold(bm_batch *batch, bm_dir *dir)
{
    pthread_mutex_lock(&batch->lock);
    dir->references++;
    pthread_mutex_unlock(&batch->lock);
}

void bm_dir_release(bm_batch *batch, bm_dir *dir, bool reader)
{
    int unread = -1;
    pthread_mutex_lock(&batch->lock);
    if (reader && --dir->readers == 0) {
        unread = dir->fd;
        dir->fd = -1;
    }
    bool last = --dir->references == 0;
    pthread_mutex_unlock(&batch->lock);
    if (unread >= 0) bm_sys_close(unread); /* not while others wait for the lock */
    if (last) free(dir);
}

/* False where no more may wait: then the caller streams the file itself. */
bool bm_large_offer(bm_batch *batch, const bm_large *file)
{
    pthread_mutex_lock(&batch->lock);
    bool room = batch->large_count < LARGE_MOST;
    if (room) {
        uint32_t at = batch->large_count++;
        for (; at && batch->large[at - 1].before.st_size > file->before.st_size; at--)
            batch->large[at] = batch->large[at - 1];
        batch->large[at] = *file;
        pthread_cond_signal(&batch->work);
    }
    pthread_mutex_unlock(&batch->lock);
    return room;
}

/* The longest one that waits; counts as streaming until bm_large_done. */
bool bm_large_take(bm_batch *batch, bm_large *file)
{
    pthread_mutex_lock(&batch->lock);
    bool found = batch->large_count > 0;
    if (found) {
        *file = batch->large[--batch->large_count];
        batch->streaming++;
    }
    pthread_mutex_unlock(&batch->lock);
    return found;
}

void bm_large_done(bm_batch *batch)
{
    pthread_mutex_lock(&batch->lock);
    batch->streaming--;
    pthread_mutex_unlock(&batch->lock);
}

/* How many files one worker should stream at a time, so that the others have theirs. */
uint32_t bm_large_share(bm_batch *batch)
{
    pthread_mutex_lock(&batch->lock);
    uint32_t share = (batch->large_count + batch->streaming + batch->threads - 1) / batch->threads;
    pthread_mutex_unlock(&batch->lock);
    return share;
}

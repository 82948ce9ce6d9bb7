/*
 * screen.c: dismisses the files that no reader knows, where nothing else is wanted of them.
 *
 * Purpose.    Most files of a tree are of no known format, which their first two bytes tell. So they
 *             cost an open, a read and a close, or a share of two submissions (ring.h).
 * Ownership.  The worker's ring and window.
 * Threads.    All state is in the bm_worker of this thread.
 */
#include "batch.h"

#include <dirent.h>
#include <string.h>

#define FEWEST 4 /* names for which a submission is no dearer than calls */

/* Whether a file that starts so could be of a format that the readers know. */
static bool may_be_recognised(const uint8_t *head, int64_t length)
{
    static const uint8_t starts[][2] = {
        {0x7f, 'E'}, {'#', '!'}, {'M', 'Z'}, {'!', '<'}, {0xca, 0xfe}, {0xfe, 0xed}, {0xce, 0xfa}, {0xcf, 0xfa},
        {0xbe, 0xba}, {0xbf, 0xba},
    };
    if (length < 0) return true; /* for the reader to report */
    for (size_t i = 0; length >= 2 && i < sizeof starts / sizeof *starts; i++)
        if (head[0] == starts[i][0] && head[1] == starts[i][1]) return true;
    return false;
}

static bool wanted(const bm_worker *worker)
{
    uint32_t want = worker->batch->want;
    return (want & BM_WANT_RECOGNISED) && !(want & WANT_DIGESTS);
}

bool bm_screen_open(bm_worker *worker, int fd)
{
    if (!wanted(worker)) return false;
    if (may_be_recognised(worker->window, bm_sys_pread(fd, worker->window, RING_HEAD, 0))) return false;
    atomic_fetch_add_explicit(&worker->batch->files, 1, memory_order_relaxed);
    return true;
}

typedef struct {
    const char *name[RING_FILES];
    uint32_t place[RING_FILES]; /* in the task */
    uint32_t count;
} name_list;

static void regular_files(const bm_task *task, name_list *list)
{
    list->count = 0;
    for (uint32_t i = 0, at = task->at; i < task->count && i < RING_FILES; i++) {
        const char *name = task->names + at + 1;
        if ((uint8_t)task->names[at] == DT_REG) {
            list->name[list->count] = name;
            list->place[list->count++] = i;
        }
        at += (uint32_t)strlen(name) + 2;
    }
}

uint32_t bm_screen_names(bm_worker *worker, const bm_task *task)
{
    name_list list;
    uint32_t dismissed = 0, files = 0;
    if (!wanted(worker) || task->count < FEWEST) return 0;
    regular_files(task, &list);
    const bm_heads *heads =
        bm_ring_heads(&worker->ring, worker->batch->allocator, task->dir->fd, list.name, list.count);
    for (uint32_t i = 0; heads && i < list.count; i++) {
        if (may_be_recognised(heads->bytes[i], heads->length[i])) continue;
        dismissed |= (uint32_t)1 << list.place[i];
        files++;
    }
    atomic_fetch_add_explicit(&worker->batch->files, files, memory_order_relaxed);
    return dismissed;
}

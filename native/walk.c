/*
 * walk.c: directories, from their name to tasks for what is in them.
 *
 * Purpose.    Lists a tree without ever leaving it: a directory is opened below its root's descriptor
 *             with no symbolic link on the way (openat2(2), or component by component where the
 *             kernel or a filter refuses it), so that a component swapped for a link during the scan
 *             is reported and not followed.
 * Ownership.  A bm_dir lives until its last task has gone; its descriptor until its last file has.
 * Threads.    Any worker lists any directory; what is shared goes through tasks.c.
 */
#include "batch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DIRECTORY_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)

/* struct open_how and RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS: include/uapi/linux/openat2.h. */
typedef struct { uint64_t flags, mode, resolve; } open_how;
#define RESOLVE 0x0cu
#ifndef SYS_openat2
#define SYS_openat2 437
#endif

/* One component after the other, each without following. */
static int open_stepwise(int root, const char *path)
{
    int fd = fcntl(root, F_DUPFD_CLOEXEC, 0);
    char name[256];
    for (const char *at = path; fd >= 0 && *at;) {
        size_t length = strcspn(at, "/");
        if (length >= sizeof name) {
            bm_sys_close(fd);
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(name, at, length);
        name[length] = 0;
        int next = openat(fd, name, DIRECTORY_FLAGS);
        int error = errno;
        bm_sys_close(fd);
        errno = error;
        fd = next;
        at += length + (at[length] == '/');
    }
    return fd;
}

static int open_below(int root, const char *path)
{
    open_how how = {DIRECTORY_FLAGS, 0, RESOLVE};
    long fd = syscall(SYS_openat2, root, path, &how, sizeof how);
    if (fd >= 0) return (int)fd;
    if (errno == ENOSYS || errno == EPERM || errno == ENAMETOOLONG || errno == EAGAIN) return open_stepwise(root, path);
    return -1;
}

static bool escapes(int error) { return error == ELOOP || error == EXDEV; }

static void report_path(bm_worker *worker, uint32_t root, const char *path, uint32_t status, int error)
{
    bm_worker_room(worker);
    bm_record *record = bm_emit_path(worker, root, path);
    if (!record) return;
    record->kind = BM_KIND_DIRECTORY;
    bm_emit_failure(worker, record, status, error);
}

static bm_task *task_for(bm_worker *worker, bm_task_kind kind, bm_dir *dir, uint32_t capacity)
{
    bm_task *task = bm_task_new(worker->batch, kind, dir, capacity);
    if (!task) bm_batch_fail(worker->batch, ENOMEM);
    return task;
}

/*
 * Puts a name on a task of its kind; a full one is pushed and replaced. NAME_MAX is what most file
 * systems allow, but some give longer names: a task is made for one that does not fit.
 */
static bool hand_over(bm_worker *worker, bm_task **task, bm_task_kind kind, bm_dir *dir, uint8_t type,
                      const char *name)
{
    if (*task && (*task)->count < TASK_NAMES && bm_task_add(*task, type, name)) return true;
    if (*task) bm_task_push(worker->batch, *task);
    size_t usual = TASK_NAMES * (NAME_MAX + 2), own = strlen(name) + 2;
    *task = task_for(worker, kind, dir, (uint32_t)(own > usual ? own : usual));
    return *task && bm_task_add(*task, type, name);
}

/* The layout that getdents64(2) writes. */
typedef struct {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
} entry;

static bool is_self_or_parent(const char *name)
{
    return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

/* Turns one buffer of entries into tasks: directories below, files on top. */
static void hand_over_entries(bm_worker *worker, bm_dir *dir, size_t size)
{
    bm_task *files = NULL, *dirs = NULL;
    bool going = true;
    for (size_t at = 0; going && at < size;) {
        const entry *found = (const void *)(worker->listing + at);
        at += found->length;
        if (is_self_or_parent(found->name)) continue;
        if (found->type == DT_DIR) going = hand_over(worker, &dirs, TASK_DIRS, dir, found->type, found->name);
        else going = hand_over(worker, &files, TASK_FILES, dir, found->type, found->name);
    }
    if (dirs) bm_task_push(worker->batch, dirs);
    if (files) bm_task_push(worker->batch, files);
}

/* Fills the listing; returns its size, with *ended set at the end of the directory, or -1. */
static ssize_t fill_listing(bm_worker *worker, int fd, bool *ended)
{
    size_t used = 0;
    *ended = false;
    while (LISTING_BYTES - used >= LISTING_BYTES / 2) {
        long got = syscall(SYS_getdents64, fd, worker->listing + used, LISTING_BYTES - used);
        if (got < 0) return -1;
        *ended = got == 0;
        if (*ended) break;
        used += (size_t)got;
    }
    return (ssize_t)used;
}

/*
 * Lists one buffer's worth. What is left of a large directory goes below what was just found, so that
 * a directory of any size never has more than this much pending.
 */
static void list(bm_worker *worker, bm_dir *dir)
{
    bool ended;
    ssize_t size = fill_listing(worker, dir->fd, &ended);
    if (size < 0) {
        report_path(worker, dir->root, dir->path, BM_STATUS_DIRECTORY, errno);
        return;
    }
    if (!ended) {
        bm_task *more = task_for(worker, TASK_MORE, dir, 0);
        if (!more) return;
        bm_task_push(worker->batch, more);
    }
    hand_over_entries(worker, dir, (size_t)size);
}

static bm_dir *new_dir(bm_worker *worker, uint32_t root, const bm_dir *parent, const char *name)
{
    size_t above = parent && parent->length ? parent->length + 1u : 0, own = strlen(name);
    bm_dir *dir = bm_batch_alloc(worker->batch, sizeof *dir + above + own + 1);
    if (!dir) {
        bm_batch_fail(worker->batch, ENOMEM);
        return NULL;
    }
    *dir = (bm_dir){.root = root, .fd = -1, .references = 1, .readers = 1, .length = (uint32_t)(above + own)};
    if (above) {
        memcpy(dir->path, parent->path, above - 1);
        dir->path[above - 1] = '/';
    }
    memcpy(dir->path + above, name, own + 1);
    return dir;
}

static void report_listed(bm_worker *worker, const bm_dir *dir)
{
    struct stat stat;
    atomic_fetch_add_explicit(&worker->batch->directories, 1, memory_order_relaxed);
    if (!(worker->batch->want & BM_WANT_ALL_ENTRIES)) return;
    bm_worker_room(worker);
    bm_record *record = bm_emit_path(worker, dir->root, dir->path);
    if (!record) return;
    if (fstat(dir->fd, &stat) == 0) bm_emit_stat(record, &stat);
    else bm_emit_failure(worker, record, BM_STATUS_STAT, errno);
}

static void walk(bm_worker *worker, bm_dir *dir, int fd)
{
    dir->fd = fd;
    if (fd < 0) {
        int error = errno;
        bool swapped = dir->length && escapes(error);
        report_path(worker, dir->root, dir->path, swapped ? BM_STATUS_ESCAPES : BM_STATUS_DIRECTORY, error);
    } else {
        report_listed(worker, dir);
        list(worker, dir);
    }
    bm_dir_release(worker->batch, dir, true);
}

void bm_walk_dir(bm_worker *worker, bm_dir *parent, const char *name)
{
    bm_dir *dir = new_dir(worker, parent->root, parent, name);
    if (!dir) return;
    int fd = -1;
    if (dir->length <= PATH_MOST) fd = open_below(worker->batch->roots[dir->root].fd, dir->path);
    else errno = ENAMETOOLONG;
    walk(worker, dir, fd);
}

/* The root itself may be a symbolic link: its name is the user's word. */
void bm_walk_root(bm_worker *worker, uint32_t root)
{
    bm_root *self = &worker->batch->roots[root];
    bm_dir *dir = new_dir(worker, root, NULL, "");
    if (!dir) return;
    self->fd = open(self->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    walk(worker, dir, self->fd < 0 ? -1 : fcntl(self->fd, F_DUPFD_CLOEXEC, 0));
}

void bm_walk_more(bm_worker *worker, bm_dir *dir) { list(worker, dir); }

/*
 * worker.c: one thread of a batch: takes tasks, opens files, reads the small ones whole.
 *
 * Purpose.    A small file is opened, examined, read once and closed; facts come from the bytes in
 *             memory at once, digests when enough files are in the pool to fill the lanes.
 * Ownership.  Buffers are allocated when the thread starts and freed when it ends. The pool refers to
 *             records by index, so a block is handed on only while the pool is empty.
 * Threads.    All state is in the bm_worker of this thread.
 */
#include "batch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* O_NONBLOCK and O_NOFOLLOW: should a name become a pipe or a link after it was listed. */
#define FILE_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/* The order by size, longest first. */
static void pool_order(const bm_pool *pool, size_t *order)
{
    for (size_t i = 0; i < pool->count; i++) {
        size_t at = i;
        for (; at && pool->size[order[at - 1]] < pool->size[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
}

static void pool_digest(bm_worker *worker, const bm_hash *hash, const size_t *order)
{
    bm_pool *pool = &worker->pool;
    uint8_t digests[POOL_FILES * 64];
    bm_hash_ordered(hash, pool->data, pool->size, order, pool->count, digests);
    for (uint32_t i = 0; i < pool->count; i++) {
        bm_record *record = &worker->arena.block->records[pool->record[i]];
        memcpy(bm_record_digest(record, hash->want), digests + (size_t)i * hash->digest, hash->digest);
        record->have |= hash->want;
    }
}

void bm_worker_flush(bm_worker *worker)
{
    size_t order[POOL_FILES];
    bm_pool *pool = &worker->pool;
    if (pool->count) {
        pool_order(pool, order);
        for (uint32_t want = BM_WANT_SHA256; want <= BM_WANT_SHA1; want <<= 1)
            if (worker->batch->want & want) pool_digest(worker, bm_hash_of(want), order);
    }
    pool->count = 0;
    pool->used = 0;
    bm_emit_hand_on(worker, false);
}

/* Reads up to size + 1 bytes: the one too many shows growth. Returns what was read, or -1. */
static ssize_t read_whole(int fd, uint8_t *to, size_t size)
{
    size_t used = 0;
    while (used <= size) {
        ssize_t got = bm_sys_read(fd, to + used, size + 1 - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        used += (size_t)got;
        /* a short count from a regular file means its end; what was there at open has been seen */
        if (got == 0 || used == size) break;
    }
    return (ssize_t)used;
}

static bool was_changed(int fd, const struct stat *before)
{
    struct stat after;
    return bm_sys_fstat(fd, &after) != 0 || bm_stat_differs(before, &after);
}

/* The status of a file read in full as far as its size and times go. */
static uint32_t reading_status(int fd, const struct stat *before, ssize_t got)
{
    if (got < 0) return BM_STATUS_READ;
    if (got < before->st_size) return BM_STATUS_SHRANK;
    return got > before->st_size || was_changed(fd, before) ? BM_STATUS_CHANGED : BM_STATUS_OK;
}

/* Drops a record that the caller did not ask for: true when it was dropped. */
static bool drop_unrecognised(bm_worker *worker, const bm_record *record, uint64_t mark)
{
    if (!(worker->batch->want & BM_WANT_RECOGNISED) || record->status != BM_STATUS_OK) return false;
    if (record->facts != BM_NONE) {
        const bm_facts *facts = bm_arena_at(&worker->arena, record->facts);
        if (facts->format != BM_FORMAT_OTHER && facts->format != BM_FORMAT_EMPTY) return false;
    } else if (record->kind == BM_KIND_REGULAR) {
        return false;
    }
    bm_emit_undo(worker, mark);
    return true;
}

static void count_file(bm_worker *worker, uint64_t bytes)
{
    atomic_fetch_add_explicit(&worker->batch->files, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&worker->batch->bytes, bytes, memory_order_relaxed);
}

/*
 * A small file whose bytes are all wanted. What was found by name before serves as well as fstat(2): the
 * status afterwards must be the same, inode included. If it is not, false, unless this is the `last` try:
 * a file that was replaced before it was opened has not changed while it was read.
 */
static bool read_small(bm_worker *worker, const bm_place *place, int fd, const struct stat *before, bool last)
{
    bm_pool *pool = &worker->pool;
    size_t size = (size_t)before->st_size;
    if (POOL_BYTES - pool->used < size) bm_worker_flush(worker);
    uint8_t *bytes = worker->pool_bytes + pool->used;
    ssize_t got = read_whole(fd, bytes, size);
    int error = got < 0 ? errno : 0;
    uint32_t status = reading_status(fd, before, got);
    if (!last && status != BM_STATUS_OK) {
        (void)lseek(fd, 0, SEEK_SET); /* fails where a pipe has taken the place: it will not be read */
        return false;
    }
    uint64_t mark = worker->arena.block ? worker->arena.block->arena_len : 0;
    bm_record *record = bm_emit(worker, place);
    if (!record) return true;
    bm_emit_stat(record, before);
    count_file(worker, got > 0 ? (uint64_t)got : 0);
    if (status != BM_STATUS_OK) {
        record->offset = got > 0 ? (uint64_t)got : 0;
        bm_emit_failure(worker, record, status, error);
        return true;
    }
    if (worker->batch->want & BM_WANT_FACTS) {
        bm_source source;
        bm_source_open_memory(&source, bytes, size);
        bm_emit_facts(worker, record, &source);
        if (drop_unrecognised(worker, record, mark)) return true;
    }
    pool->data[pool->count] = bytes, pool->size[pool->count] = size;
    pool->record[pool->count++] = (uint32_t)(record - worker->arena.block->records);
    pool->used += size;
    return true;
}

static int64_t read_at(void *context, uint64_t offset, uint8_t *to, size_t length)
{
    ssize_t got = bm_sys_pread(*(int *)context, to, length, offset);
    return got < 0 ? -(int64_t)errno : got;
}

void bm_worker_source(bm_worker *worker, bm_source *source, int *fd, uint64_t size)
{
    bm_source_open(source, size, read_at, fd, worker->window);
}

/* The first window at once: small files are in it whole, executables with most of what is asked of them. */
static void seed_head(bm_worker *worker, bm_source *source, int fd)
{
    size_t length = source->size < BM_WINDOW_BYTES ? (size_t)source->size : BM_WINDOW_BYTES;
    ssize_t got = bm_sys_pread(fd, worker->window, length, 0);
    if (got != (ssize_t)length) return; /* the source will meet the same trouble and report it */
    source->windows[0] = source->current = (bm_window){worker->window, 0, length};
    source->next = 1;
}

/* A file of which only facts, or nothing but its metadata, are wanted. */
static void read_facts_only(bm_worker *worker, const bm_place *place, int fd, const struct stat *before)
{
    bm_source source;
    uint64_t mark = worker->arena.block ? worker->arena.block->arena_len : 0;
    bm_record *record = bm_emit(worker, place);
    if (!record) return;
    bm_emit_stat(record, before);
    count_file(worker, 0);
    if (!(worker->batch->want & BM_WANT_FACTS)) return;
    bm_worker_source(worker, &source, &fd, record->size);
    seed_head(worker, &source, fd);
    bm_emit_facts(worker, record, &source);
    if (drop_unrecognised(worker, record, mark)) return;
    bool seen = record->status == BM_STATUS_OK || record->status == BM_STATUS_MALFORMED;
    if (seen && source.reads && was_changed(fd, before)) bm_emit_failure(worker, record, BM_STATUS_CHANGED, 0);
}

static void offer_large(bm_worker *worker, const bm_place *place, int fd, const struct stat *before)
{
    const bm_dir *dir = place->dir;
    size_t above = dir && dir->length ? dir->length + 1u : 0, own = strlen(place->name);
    bm_large file = {fd, dir ? dir->root : place->root, *before, bm_batch_alloc(worker->batch, above + own + 1)};
    if (!file.path) {
        bm_sys_close(fd);
        bm_batch_fail(worker->batch, ENOMEM);
        return;
    }
    if (above) {
        memcpy(file.path, dir->path, above - 1);
        file.path[above - 1] = '/';
    }
    memcpy(file.path + above, place->name, own + 1);
    if (before->st_size < LARGE_URGENT && bm_large_offer(worker->batch, &file)) return;
    bm_stream_run(worker, &file);
}

static void fail_place(bm_worker *worker, const bm_place *place, uint32_t status, int error)
{
    bm_record *record = bm_emit(worker, place);
    if (record) bm_emit_failure(worker, record, status, error);
}

/* Whether an entry that is no regular file leaves a record. */
static bool is_wanted(const bm_worker *worker, const bm_place *place, bool link)
{
    uint32_t want = worker->batch->want;
    return !place->dir || (want & BM_WANT_ALL_ENTRIES) || (link && !(want & BM_WANT_RECOGNISED));
}

/* What is not a regular file, by lstat. */
static void report_other(bm_worker *worker, const bm_place *place, const struct stat *stat)
{
    bool link = S_ISLNK(stat->st_mode);
    if (!is_wanted(worker, place, link)) return;
    bm_record *record = bm_emit(worker, place);
    if (!record) return;
    bm_emit_stat(record, stat);
    if (!place->dir) {
        bm_emit_failure(worker, record, BM_STATUS_NOT_REGULAR, 0);
    } else if (link) {
        char target[4096];
        ssize_t length = readlinkat(place->dir->fd, place->name, target, sizeof target);
        if (length < 0) bm_emit_failure(worker, record, BM_STATUS_READ, errno);
        else record->target = bm_arena_copy(&worker->arena, target, (uint32_t)length);
        if (length > 0 && record->target.off == BM_NONE) bm_batch_fail(worker->batch, ENOMEM);
    }
}

/* Reads the open file by what it wants; `named` is what its name led to before, or NULL where that was not asked. */
static void read_open(bm_worker *worker, const bm_place *place, int fd, const struct stat *named)
{
    struct stat before;
    bool digests = worker->batch->want & WANT_DIGESTS;
    if (bm_screen_open(worker, fd)) {
        bm_sys_close(fd);
        return;
    }
    if (named && digests && named->st_size <= SMALL_MOST && read_small(worker, place, fd, named, false)) {
        bm_sys_close(fd);
        return;
    }
    if (bm_sys_fstat(fd, &before) != 0) {
        fail_place(worker, place, BM_STATUS_STAT, errno);
    } else if (!S_ISREG(before.st_mode)) {
        report_other(worker, place, &before);
    } else if (!digests) {
        read_facts_only(worker, place, fd, &before);
    } else if (before.st_size > SMALL_MOST) {
        offer_large(worker, place, fd, &before);
        return; /* the descriptor has gone with it */
    } else {
        read_small(worker, place, fd, &before, true);
    }
    bm_sys_close(fd);
}

/* The entries that are no regular file, as far as a listing or a look can tell: not opened. */
static bool is_regular(bm_worker *worker, const bm_place *place, struct stat *stat)
{
    if (fstatat(place->base, place->leaf, stat, place->dir ? AT_SYMLINK_NOFOLLOW : 0) != 0) {
        fail_place(worker, place, errno == ENOENT && !place->dir ? BM_STATUS_OPEN : BM_STATUS_STAT, errno);
        return false;
    }
    if (S_ISDIR(stat->st_mode) && place->dir) {
        bm_walk_dir(worker, place->dir, place->name); /* a file system that gives no types */
        return false;
    }
    if (!S_ISREG(stat->st_mode)) report_other(worker, place, stat);
    return S_ISREG(stat->st_mode);
}

void bm_worker_file(bm_worker *worker, const bm_place *place, uint8_t type)
{
    bm_worker_room(worker);
    if (type != DT_REG && type != DT_UNKNOWN && type != DT_DIR && !is_wanted(worker, place, type == DT_LNK)) return;
    struct stat named;
    if (type != DT_REG && !is_regular(worker, place, &named)) return;
    int fd, flags = place->dir ? FILE_FLAGS | O_NOFOLLOW : FILE_FLAGS;
    do fd = bm_sys_open(place->base, place->leaf, flags);
    while (fd < 0 && errno == EINTR);
    if (fd >= 0) {
        read_open(worker, place, fd, type == DT_REG ? NULL : &named);
    } else if (errno == ELOOP && place->dir) {
        (void)is_regular(worker, place, &named); /* became a link after it was listed: reported as one */
    } else {
        fail_place(worker, place, BM_STATUS_OPEN, errno);
    }
}

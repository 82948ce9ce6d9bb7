/*
 * emit.c: records, from what is known of a file to a block on its way to the caller.
 *
 * Purpose.    Every entry that was looked at leaves exactly one record, or the batch fails as a whole.
 * Ownership.  The worker's block until it is handed on; pointers to records die when the block does,
 *             not when its arena grows.
 * Threads.    The worker's own block only.
 */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool room_for_record(bm_worker *worker)
{
    if (worker->arena.block) return true;
    worker->arena.block = bm_block_new(BLOCK_RECORDS, BLOCK_ARENA / 4, worker->batch->allocator);
    if (!worker->arena.block) bm_batch_fail(worker->batch, ENOMEM);
    return worker->arena.block != NULL;
}

/* Hands the block on when it is full, or when it has anything and `partial` is set. Nothing may be waiting in the
 * pool, which refers to records by index. */
bool bm_emit_hand_on(bm_worker *worker, bool partial)
{
    bm_block *block = worker->arena.block;
    if (!block || block->count == 0) return true;
    if (!partial && block->count < BLOCK_RECORDS && block->arena_len < BLOCK_ARENA) return true;
    worker->arena.block = NULL;
    return bm_batch_put(worker->batch, block);
}

static bm_record *append(bm_worker *worker, uint32_t root, const char *const *parts, unsigned count)
{
    if (!room_for_record(worker)) return NULL;
    bm_block *block = worker->arena.block;
    size_t length = 0;
    for (unsigned i = 0; i < count; i++) length += strlen(parts[i]);
    uint32_t offset = length < BM_NONE ? bm_arena_reserve(&worker->arena, length, 1) : BM_NONE;
    if (offset == BM_NONE) {
        bm_batch_fail(worker->batch, ENOMEM);
        return NULL;
    }
    char *to = bm_arena_at(&worker->arena, offset);
    for (unsigned i = 0; i < count; i++) to = memcpy(to, parts[i], strlen(parts[i])) + strlen(parts[i]);
    bm_record *record = &block->records[block->count++];
    memset(record, 0, sizeof *record);
    record->path = (bm_str){offset, (uint32_t)length};
    record->target = (bm_str){BM_NONE, 0};
    record->facts = BM_NONE;
    record->root = root;
    return record;
}

/* A new record, or NULL where the batch has failed. The block must not be full. */
bm_record *bm_emit(bm_worker *worker, const bm_place *place)
{
    if (!place->dir) return append(worker, place->root, &place->name, 1);
    const char *parts[3] = {place->dir->path, "/", place->name};
    if (place->dir->length == 0) return append(worker, place->dir->root, &parts[2], 1);
    return append(worker, place->dir->root, parts, 3);
}

bm_record *bm_emit_path(bm_worker *worker, uint32_t root, const char *path) { return append(worker, root, &path, 1); }

/* Takes the last record back; `mark` is the length that the arena had before it. */
void bm_emit_undo(bm_worker *worker, uint64_t mark)
{
    worker->arena.block->count--;
    worker->arena.block->arena_len = mark;
}

static uint32_t kind_of(mode_t mode)
{
    static const struct { mode_t type; uint32_t kind; } kinds[] = {
        {S_IFREG, BM_KIND_REGULAR}, {S_IFDIR, BM_KIND_DIRECTORY}, {S_IFLNK, BM_KIND_SYMLINK},
        {S_IFIFO, BM_KIND_FIFO},    {S_IFSOCK, BM_KIND_SOCKET},   {S_IFCHR, BM_KIND_CHARDEV},
        {S_IFBLK, BM_KIND_BLOCKDEV},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if ((mode & S_IFMT) == kinds[i].type) return kinds[i].kind;
    return BM_KIND_UNKNOWN;
}

void bm_emit_stat(bm_record *record, const struct stat *stat)
{
    record->kind = kind_of(stat->st_mode);
    record->size = (uint64_t)stat->st_size;
    record->mtime_ns = (uint64_t)stat->st_mtim.tv_sec * 1000000000u + (uint64_t)stat->st_mtim.tv_nsec;
    record->device = stat->st_dev, record->inode = stat->st_ino;
    record->mode = stat->st_mode, record->uid = stat->st_uid, record->gid = stat->st_gid;
}

void bm_emit_failure(bm_worker *worker, bm_record *record, uint32_t status, int error)
{
    record->status = status;
    record->error = (uint32_t)error;
    record->facts = BM_NONE;
    record->have = 0;
    atomic_fetch_add_explicit(&worker->batch->errors, 1, memory_order_relaxed);
}

/* Reads the facts into the worker's arena and sets what the record says of them; returns the format. */
uint32_t bm_emit_facts(bm_worker *worker, bm_record *record, bm_source *source)
{
    uint32_t status = bm_read_facts(source, worker->batch->want & WANT_READER, BM_VIEW_SPEC, &worker->arena,
                                    &record->facts);
    if (record->facts == BM_NONE) {
        record->offset = source->error_offset;
        bm_emit_failure(worker, record, status, source->error > 0 ? source->error : 0);
        return BM_FORMAT_OTHER;
    }
    const bm_facts *facts = bm_arena_at(&worker->arena, record->facts);
    record->status = status;
    if (status == BM_STATUS_MALFORMED) {
        const bm_issue *first = bm_arena_at(&worker->arena, facts->issues.off);
        record->issue = first->code, record->offset = first->offset;
        atomic_fetch_add_explicit(&worker->batch->errors, 1, memory_order_relaxed);
    }
    return facts->format;
}

uint8_t *bm_record_digest(bm_record *record, uint32_t want)
{
    return want == BM_WANT_SHA256 ? record->sha256 : want == BM_WANT_SHA512 ? record->sha512 : record->sha1;
}

bool bm_stat_differs(const struct stat *before, const struct stat *after)
{
    return before->st_dev != after->st_dev || before->st_ino != after->st_ino || before->st_size != after->st_size ||
           before->st_mtim.tv_sec != after->st_mtim.tv_sec ||
           before->st_mtim.tv_nsec != after->st_mtim.tv_nsec || before->st_ctim.tv_sec != after->st_ctim.tv_sec ||
           before->st_ctim.tv_nsec != after->st_ctim.tv_nsec;
}

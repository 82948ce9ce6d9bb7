/*
 * stream.c: large files, several at a time, so that the lanes have something to interleave.
 *
 * Purpose.    One file cannot be interleaved with itself. A worker keeps up to sixteen open, fills a
 *             piece of each, runs every digest over all pieces side by side, and goes on; a file that
 *             ends makes room for the longest that waits.
 * Ownership.  Pieces lie in the worker's pool, which is empty meanwhile; descriptors and paths of the
 *             files belong to their streams.
 * Threads.    One worker; files come from the batch's shared heap.
 */
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    bm_large file;
    bm_context context[BM_HASHES];
    uint8_t *piece;
    size_t filled;
    uint64_t offset;            /* bytes of the file already digested */
    uint32_t status;
    int error;
    bool active, last, urgent;  /* urgent: never waited */
} stream;

typedef struct {
    bm_worker *worker;
    stream streams[STREAMS];
    uint32_t active;
} session;

static const uint32_t wants[BM_HASHES] = {BM_WANT_SHA256, BM_WANT_SHA512, BM_WANT_SHA1};

static void begin(session *self, const bm_large *file, bool urgent)
{
    stream *free_one = self->streams;
    while (free_one->active) free_one++;
    uint8_t *piece = self->worker->pool_bytes + (size_t)(free_one - self->streams) * STREAM_BYTES;
    *free_one = (stream){.file = *file, .piece = piece, .active = true, .urgent = urgent};
    for (unsigned i = 0; i < BM_HASHES; i++)
        if (self->worker->batch->want & wants[i]) bm_context_start(&free_one->context[i], bm_hash_of(wants[i]));
    (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    self->active++;
}

/* Fills the piece, or to the end of the file as it was when it was opened. */
static void fill(stream *self)
{
    uint64_t left = (uint64_t)self->file.before.st_size - self->offset;
    size_t wanted = left < STREAM_BYTES ? (size_t)left : STREAM_BYTES;
    self->filled = 0;
    self->last = left == wanted;
    while (self->filled < wanted && self->status == BM_STATUS_OK) {
        ssize_t got = bm_sys_read(self->file.fd, self->piece + self->filled, wanted - self->filled);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) self->status = BM_STATUS_READ, self->error = errno;
        else if (got == 0) self->status = BM_STATUS_SHRANK;
        else self->filled += (size_t)got;
    }
}

static void digest_pieces(session *self, unsigned hash)
{
    bm_job jobs[STREAMS];
    size_t count = 0;
    for (unsigned i = 0; i < STREAMS; i++) {
        stream *each = &self->streams[i];
        if (!each->active || each->status != BM_STATUS_OK) continue;
        bm_context_job(&each->context[hash], each->piece, each->filled, each->last, &jobs[count++]);
    }
    bm_lanes_run(bm_hash_of(wants[hash]), jobs, count);
}

static void read_facts(bm_worker *worker, stream *self, bm_record *record)
{
    bm_source source;
    bm_worker_source(worker, &source, &self->file.fd, record->size);
    bm_emit_facts(worker, record, &source);
    bool seen = record->status == BM_STATUS_OK || record->status == BM_STATUS_MALFORMED;
    if (!seen) self->status = record->status;
}

static void check_unchanged(stream *self)
{
    struct stat after;
    if (bm_sys_fstat(self->file.fd, &after) != 0) self->status = BM_STATUS_STAT, self->error = errno;
    else if (bm_stat_differs(&self->file.before, &after)) self->status = BM_STATUS_CHANGED;
}

static void store_digests(const bm_worker *worker, const stream *self, bm_record *record)
{
    for (unsigned i = 0; i < BM_HASHES; i++) {
        if (!(worker->batch->want & wants[i])) continue;
        bm_context_digest(&self->context[i], bm_record_digest(record, wants[i]));
        record->have |= wants[i];
    }
}

static bool is_unrecognised(const bm_worker *worker, const bm_record *record)
{
    if (!(worker->batch->want & BM_WANT_RECOGNISED) || record->status != BM_STATUS_OK) return false;
    if (record->facts == BM_NONE) return false;
    const bm_facts *facts = bm_arena_at(&worker->arena, record->facts);
    return facts->format == BM_FORMAT_OTHER;
}

static void report(bm_worker *worker, stream *self)
{
    bm_worker_room(worker);
    uint64_t mark = worker->arena.block ? worker->arena.block->arena_len : 0;
    bm_record *record = bm_emit_path(worker, self->file.root, self->file.path);
    if (!record) return;
    bm_emit_stat(record, &self->file.before);
    atomic_fetch_add_explicit(&worker->batch->files, 1, memory_order_relaxed);
    if (self->status == BM_STATUS_OK && (worker->batch->want & BM_WANT_FACTS)) read_facts(worker, self, record);
    if (self->status == BM_STATUS_OK) check_unchanged(self);
    if (self->status != BM_STATUS_OK) {
        if (record->offset == 0) record->offset = self->offset + self->filled;
        if (record->status != self->status) bm_emit_failure(worker, record, self->status, self->error);
    } else if (is_unrecognised(worker, record)) {
        bm_emit_undo(worker, mark);
    } else {
        store_digests(worker, self, record);
    }
}

static void end(session *self, stream *finished, bool reported)
{
    if (reported) report(self->worker, finished);
    bm_sys_close(finished->file.fd);
    free(finished->file.path);
    if (!finished->urgent) bm_large_done(self->worker->batch);
    finished->active = false;
    self->active--;
}

/* One piece of every file. */
static void advance(session *self)
{
    bm_batch *batch = self->worker->batch;
    for (unsigned i = 0; i < STREAMS; i++)
        if (self->streams[i].active) fill(&self->streams[i]);
    for (unsigned i = 0; i < BM_HASHES; i++)
        if (batch->want & wants[i]) digest_pieces(self, i);
    for (unsigned i = 0; i < STREAMS; i++) {
        stream *each = &self->streams[i];
        if (!each->active) continue;
        atomic_fetch_add_explicit(&batch->bytes, each->filled, memory_order_relaxed);
        if (each->last || each->status != BM_STATUS_OK) end(self, each, true);
        else each->offset += each->filled;
    }
}

/* Takes its share of the files that wait. */
static void gather(session *self)
{
    bm_large file;
    uint32_t share = bm_large_share(self->worker->batch);
    while (self->active < share && self->active < STREAMS && bm_large_take(self->worker->batch, &file))
        begin(self, &file, false);
}

void bm_stream_run(bm_worker *worker, const bm_large *urgent)
{
    session self = {.worker = worker};
    bm_worker_flush(worker);
    if (urgent) begin(&self, urgent, true);
    for (gather(&self); self.active && !bm_batch_stopped(worker->batch); gather(&self)) advance(&self);
    for (unsigned i = 0; i < STREAMS; i++)
        if (self.streams[i].active) end(&self, &self.streams[i], false);
    bm_emit_hand_on(worker, true);
}

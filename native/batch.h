/*
 * batch.h: the inside of batches, shared by batch.c, tasks.c, walk.c, thread.c,
 * folder.c, worker.c, screen.c, stream.c and emit.c.
 *
 * Purpose.    Lists and trees of files: one open and one read of each file serve format detection,
 *             facts and every digest.
 * Ownership.  A batch owns its roots, tasks and threads. A worker owns its buffers and the block it
 *             is filling; a full block goes to the queue and from there to the caller.
 * Threads.    `lock` guards tasks, large files and the queue of blocks; counters are atomic; all else
 *             belongs to one worker. Callbacks do not exist: the caller polls bm_batch_wait.
 * Memory.     Bounded whatever the tree: at most 2 * threads + 2 blocks wait, a worker lists no
 *             further in a directory than one buffer before what it found has been taken, and
 *             at most LARGE_MOST files wait with their descriptors open.
 */
#ifndef BM_BATCH_H
#define BM_BATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "block.h"
#include "bm.h"
#include "hash.h"
#include "reader.h"
#include "ring.h"
#include "source.h"
#include "sys.h"

#define POOL_BYTES 524288       /* small files read, not yet hashed: about a second-level cache */
#define SMALL_MOST 131072       /* larger files are streamed */
#define POOL_FILES 64
#define STREAMS 16
#define STREAM_BYTES (POOL_BYTES / STREAMS)
#define LARGE_MOST 32           /* large files waiting for a worker */
#define LARGE_URGENT 268435456  /* bytes: a file that is not made to wait for company */
#define LISTING_BYTES 32768
#define TASK_NAMES RING_FILES   /* files handed over at a time */
#define BLOCK_RECORDS 256
#define BLOCK_ARENA 262144      /* bytes of arena past which a block is handed on */
#define PATH_MOST 65535         /* bytes of a path below its root */

#define WANT_DIGESTS (BM_WANT_SHA256 | BM_WANT_SHA512 | BM_WANT_SHA1)
#define WANT_READER (BM_WANT_FACTS | BM_WANT_SYMBOLS)

typedef struct bm_root {
    char *path;
    bool tree;
    uint8_t type;               /* DT_REG where that is known of a file */
    int fd;                     /* of a tree, once it has been opened */
} bm_root;

/* A directory below a root. `references` keeps the memory, `readers` the descriptor. */
typedef struct bm_dir {
    uint32_t root;
    int fd;
    unsigned references, readers; /* guarded by the batch's lock */
    uint32_t length;
    char path[];                  /* relative to the root; empty for the root itself */
} bm_dir;

typedef enum { TASK_ROOTS, TASK_DIRS, TASK_FILES, TASK_MORE } bm_task_kind;

/* Names are stored one after the other: a d_type byte, the name, a NUL. */
typedef struct bm_task {
    struct bm_task *below;
    bm_task_kind kind;
    bm_dir *dir;
    uint32_t first, count;      /* of ROOTS: a range of roots; else names left */
    uint32_t at, used, capacity;
    char names[];
} bm_task;

/* Where a file's name comes from: a listing, or a path as it was given. */
typedef struct {
    bm_dir *dir;                /* NULL for a file of a list */
    uint32_t root;
    const char *name;
    int base;                   /* a directory's descriptor or AT_FDCWD, and what leads to the file from there */
    const char *leaf;
} bm_place;

/* The directory of the last names of a list. */
typedef struct {
    const char *path;
    size_t length;              /* of the directory in it, with its last slash */
    uint32_t names;
    int fd;
} bm_folder;

#define BM_NO_FOLDER ((bm_folder){NULL, 0, 0, -1})

/* A file that waits for streaming: opened and examined. */
typedef struct {
    int fd;
    uint32_t root;
    struct stat before;
    char *path;
} bm_large;

struct bm_batch {
    bm_allocator allocator;
    uint32_t want, threads;
    uint32_t running, joinable; /* workers at work; threads to be joined */
    bm_root *roots;
    uint32_t root_count, root_capacity;
    pthread_t *thread;
    bool started;

    pthread_mutex_t lock;
    pthread_cond_t work;        /* for workers: a task, a large file, the end */
    pthread_cond_t room;        /* for workers: room in the queue, the end */
    pthread_cond_t result;      /* for the caller: a block, or the end */
    bm_task *top;
    uint32_t busy;              /* workers that may still add tasks */
    bm_large large[LARGE_MOST];
    uint32_t large_count, streaming;
    bm_block *first, **last;
    uint32_t queued;
    int error;

    atomic_bool cancelled;
    atomic_ullong files, directories, bytes, errors;
};

typedef struct {
    const uint8_t *data[POOL_FILES];
    size_t size[POOL_FILES];
    uint32_t record[POOL_FILES];
    uint32_t count;
    size_t used;
} bm_pool;

typedef struct {
    struct bm_batch *batch;
    bm_arena arena;             /* the block being filled */
    uint8_t *pool_bytes;        /* POOL_BYTES + 1; streams use it while the pool is empty */
    uint8_t *window;            /* BM_SOURCE_BUFFER, for sources */
    uint8_t *listing;           /* LISTING_BYTES */
    bm_pool pool;
    bm_ring ring;
} bm_worker;

/* batch.c */
void bm_batch_leave(struct bm_batch *batch);
void bm_batch_fail(struct bm_batch *batch, int error);
bool bm_batch_stopped(struct bm_batch *batch);
void *bm_batch_alloc(struct bm_batch *batch, size_t size);
bool bm_batch_put(struct bm_batch *batch, bm_block *block);
bm_batch *bm_batch_open_with(bm_allocator allocator, uint32_t want, uint32_t threads);

/* tasks.c */
bm_task *bm_task_new(struct bm_batch *batch, bm_task_kind kind, bm_dir *dir, uint32_t capacity);
bool bm_task_add(bm_task *task, uint8_t type, const char *name);
const char *bm_task_name(bm_task *task, uint8_t *type);
void bm_task_push(struct bm_batch *batch, bm_task *task);
void bm_task_free(struct bm_batch *batch, bm_task *task);
bm_task *bm_task_pop(struct bm_batch *batch);
bool bm_task_wait(struct bm_batch *batch, bm_task **task);
void bm_dir_hold(struct bm_batch *batch, bm_dir *dir);
void bm_dir_release(struct bm_batch *batch, bm_dir *dir, bool reader);
bool bm_large_offer(struct bm_batch *batch, const bm_large *file);
bool bm_large_take(struct bm_batch *batch, bm_large *file);
void bm_large_done(struct bm_batch *batch);
uint32_t bm_large_share(struct bm_batch *batch);

/* walk.c */
void bm_walk_root(bm_worker *worker, uint32_t root);
void bm_walk_dir(bm_worker *worker, bm_dir *parent, const char *name);
void bm_walk_more(bm_worker *worker, bm_dir *dir);

/* thread.c */
void *bm_worker_main(void *batch);
void bm_worker_room(bm_worker *worker);

/* folder.c: sets where to look the place's name up from. */
void bm_folder_find(bm_folder *folder, bm_place *place);
void bm_folder_end(bm_folder *folder);

/* worker.c */
void bm_worker_file(bm_worker *worker, const bm_place *place, uint8_t type);
void bm_worker_flush(bm_worker *worker);
void bm_worker_source(bm_worker *worker, bm_source *source, int *fd, uint64_t size);

/* screen.c: whether an open file is one to be left out; then which names of a task are (bit 0: the first). Those
 * have been counted. */
bool bm_screen_open(bm_worker *worker, int fd);
uint32_t bm_screen_names(bm_worker *worker, const bm_task *task);

/* stream.c */
void bm_stream_run(bm_worker *worker, const bm_large *urgent);

/* emit.c */
bm_record *bm_emit(bm_worker *worker, const bm_place *place);
bm_record *bm_emit_path(bm_worker *worker, uint32_t root, const char *path);
void bm_emit_undo(bm_worker *worker, uint64_t mark);
void bm_emit_stat(bm_record *record, const struct stat *stat);
void bm_emit_failure(bm_worker *worker, bm_record *record, uint32_t status, int error);
bool bm_emit_hand_on(bm_worker *worker, bool partial);
uint32_t bm_emit_facts(bm_worker *worker, bm_record *record, bm_source *source);
uint8_t *bm_record_digest(bm_record *record, uint32_t want);
bool bm_stat_differs(const struct stat *before, const struct stat *after);

#endif

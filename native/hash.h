/*
 * hash.h: the inside of hashing, shared by the kernels, the lanes and the batch.
 *
 * Purpose.    A kernel advances 1 to 16 independent messages of one algorithm by the same number of
 *             whole blocks. Everything else (padding, splitting, which message in which lane) is
 *             written once, above the kernels.
 * Ownership.  Nothing here allocates except bm_hash_many (what it needs to order the buffers) and
 *             bm_hash_new.
 * Threads.    The table of chosen kernels is calibrated once behind pthread_once and read-only
 *             afterwards; contexts belong to whoever made them.
 *
 * Sources: FIPS 180-4 (SHA-1, SHA-256, SHA-512).
 */
#ifndef BM_HASH_H
#define BM_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "bm.h"

/* The Armv8 kernels are written for the usual, little-endian order of vector elements. */
#if defined(__aarch64__) && !defined(__AARCH64EB__)
#define BM_ARM 1
#endif

#define BM_LANES_MAX 16
#define BM_BLOCK_MAX 128
#define BM_STATE_MAX 64
#define BM_HASHES 3

/* State words are in host order; data of each lane holds at least blocks * block bytes. */
typedef void (*bm_kernel_fn)(void *const *state, const uint8_t *const *data, size_t blocks);

typedef struct {
    const char *name;   /* NULL ends a list */
    unsigned lanes;     /* how many messages it advances */
    uint32_t cpu;       /* the BM_CPU_ bits it needs */
    bm_kernel_fn run;
} bm_kernel;

typedef struct {
    uint32_t want;          /* its BM_WANT_SHA… bit */
    uint8_t block, state, digest, word;   /* sizes in bytes */
    uint8_t length_field;   /* bytes of the message length at the end of the padding */
    const void *initial;
    const bm_kernel *const *kernels;      /* lists, NULL-terminated */
} bm_hash;

/* How to advance n messages: run the kernel `step[n]`, then the n - lanes that are left. */
typedef struct {
    const bm_kernel *step[BM_LANES_MAX + 1];
    unsigned width;         /* messages to keep in flight */
} bm_plan;

extern const bm_hash bm_hash_sha256, bm_hash_sha512, bm_hash_sha1;
extern const bm_kernel bm_sha256_portable[], bm_sha512_portable[], bm_sha1_portable[];
#if defined(__x86_64__)
extern const bm_kernel bm_sha256_x86[], bm_sha512_x86[], bm_sha1_x86[];
extern const bm_kernel bm_sha256_sse2[], bm_sha512_sse2[], bm_sha1_sse2[];
extern const bm_kernel bm_sha256_ssse3[], bm_sha512_ssse3[], bm_sha1_ssse3[];
extern const bm_kernel bm_sha256_avx[], bm_sha512_avx[], bm_sha1_avx[];
extern const bm_kernel bm_sha256_avx2[], bm_sha512_avx2[], bm_sha1_avx2[];
extern const bm_kernel bm_sha256_avx512vl[], bm_sha512_avx512vl[], bm_sha1_avx512vl[];
extern const bm_kernel bm_sha256_avx512[], bm_sha512_avx512[], bm_sha1_avx512[];
#elif defined(BM_ARM)
extern const bm_kernel bm_sha256_arm[], bm_sha512_arm[], bm_sha1_arm[];
#endif
extern const uint32_t bm_sha256_k[64];
extern const uint64_t bm_sha512_k[80];

/* The algorithm of one BM_WANT_SHA… bit, or NULL. */
const bm_hash *bm_hash_of(uint32_t want);

/* The calibrated plan; the first call on any thread measures (well under 2 ms). */
const bm_plan *bm_hash_plan(const bm_hash *hash);

/* One message as it goes through a lane: whole blocks of the data, then those of the tail. */
typedef struct {
    void *state;
    const uint8_t *data;
    size_t blocks;
    const uint8_t *tail;
    size_t tail_blocks;
} bm_job;

/* Where lanes take their next message from; false when there is none. On entry *job is the one that
 * has just completed, or one whose state is NULL. */
typedef struct bm_feed {
    bool (*next)(struct bm_feed *feed, unsigned lane, bm_job *job);
} bm_feed;

/* Advances `count` jobs, at most kernel->lanes of them, by `blocks` of their data. */
void bm_kernel_run(const bm_kernel *kernel, const bm_job *jobs, unsigned count, size_t blocks);

/* Drives all messages of a feed to their end. */
void bm_lanes_drive(const bm_hash *hash, bm_feed *feed);

/* Runs `count` jobs, longest first; reorders the array. */
void bm_lanes_run(const bm_hash *hash, bm_job *jobs, size_t count);

/* One message in progress. */
struct bm_context {
    union { uint32_t w32[8]; uint64_t w64[8]; } state;
    uint64_t total;                    /* bytes so far, those in `pending` included */
    const bm_hash *hash;
    uint32_t fill;
    uint8_t pending[2 * BM_BLOCK_MAX];
};

void bm_context_start(bm_context *context, const bm_hash *hash);
void bm_context_update(bm_context *context, const uint8_t *data, size_t size);
void bm_context_finish(bm_context *context, uint8_t *digest);

/* Fills in a job for `size` more bytes of a context that holds nothing pending; `last` adds the
 * padding. Unless it is the last, size must be a multiple of the block. */
void bm_context_job(bm_context *context, const uint8_t *data, size_t size, bool last, bm_job *job);

/* bm_hash_many with an allocator that a test may make fail. */
int bm_hash_many_with(bm_allocator allocator, uint32_t want, const uint8_t *const *buffers, const size_t *sizes,
                      size_t count, uint8_t *digests);

/* The same for an order that is known; NULL: as they come. Cannot fail. */
void bm_hash_ordered(const bm_hash *hash, const uint8_t *const *buffers, const size_t *sizes, const size_t *order,
                     size_t count, uint8_t *digests);

/* The digest of a context whose last job has run. */
void bm_context_digest(const bm_context *context, uint8_t *digest);

#endif

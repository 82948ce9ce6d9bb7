/*
 * ring.h: the first bytes of many files at once, by io_uring.
 *
 * Purpose.    Most files of a tree are dismissed by their first two bytes. Opening, reading and closing
 *             32 of them costs two system calls instead of 96, and no descriptor is ever made.
 * Fairness.   Nothing here may sleep in the kernel or wake its thread pool: only names and bytes that
 *             are cached already are taken (RESOLVE_CACHED, RWF_NOWAIT).
 * Errors.     None: whatever does not work out is simply not known, and the caller asks in the ordinary
 *             way, which reports what is wrong. Where io_uring is absent or forbidden (an old kernel,
 *             kernel.io_uring_disabled, a seccomp filter), nothing ever is known.
 * Threads.    A ring belongs to the thread that uses it.
 */
#ifndef BM_RING_H
#define BM_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block.h"

#define RING_FILES 32
#define RING_HEAD 64

typedef struct bm_ring_state bm_ring_state;

typedef struct {
    bm_ring_state *state; /* NULL until it is worth it, and after it has failed */
    bool off;
    uint32_t seen;  /* names that were asked for before there was a ring */
    uint32_t pause; /* calls to come that are answered with "not known", since little was cached */
} bm_ring;

typedef struct {
    uint8_t bytes[RING_FILES][RING_HEAD];
    int32_t length[RING_FILES]; /* bytes of the head that were read, or -1: not known */
} bm_heads;

/*
 * The heads of `count` (at most RING_FILES) files, by their names below the directory `base`. The result,
 * or NULL where nothing is known, is good until the next call.
 */
const bm_heads *bm_ring_heads(bm_ring *ring, bm_allocator allocator, int base, const char *const *names,
                              uint32_t count);

void bm_ring_end(bm_ring *ring);

#endif

/*
 * single_ssse3.c: one message on an x86-64 CPU with SSSE3 and no BMI2 (from 2006 on: Core 2, Bobcat, Atom).
 *
 * Purpose.    As in single_x86.h.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 */
#include "hash.h"

#if defined(__x86_64__)

#define O_TARGET __attribute__((target("ssse3")))
#include "single_x86.h"

const bm_kernel bm_sha256_ssse3[] = {{"ssse3 schedule", 1, BM_CPU_SSSE3, sha256_single}, {NULL, 0, 0, NULL}};
const bm_kernel bm_sha512_ssse3[] = {{"ssse3 schedule", 1, BM_CPU_SSSE3, sha512_single}, {NULL, 0, 0, NULL}};
const bm_kernel bm_sha1_ssse3[] = {{"ssse3 schedule", 1, BM_CPU_SSSE3, sha1_single}, {NULL, 0, 0, NULL}};

#endif

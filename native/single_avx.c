/*
 * single_avx.c: one message on an x86-64 CPU with AVX and no BMI2 (Sandy and Ivy Bridge, Bulldozer, Jaguar).
 *
 * Purpose.    As in single_x86.h; three-operand instructions save the copies.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 */
#include "hash.h"

#if defined(__x86_64__)

#define O_TARGET __attribute__((target("avx")))
#include "single_x86.h"

const bm_kernel bm_sha256_avx[] = {{"avx schedule", 1, BM_CPU_AVX, sha256_single}, {NULL, 0, 0, NULL}};
const bm_kernel bm_sha512_avx[] = {{"avx schedule", 1, BM_CPU_AVX, sha512_single}, {NULL, 0, 0, NULL}};
const bm_kernel bm_sha1_avx[] = {{"avx schedule", 1, BM_CPU_AVX, sha1_single}, {NULL, 0, 0, NULL}};

#endif

/*
 * sha1.c: SHA-1 in plain C (FIPS 180-4, 6.1), and the description of the algorithm.
 *
 * Purpose.    SPDX documents ask for SHA-1 of every file; nothing here rests its trust on it.
 * Ownership.  None: works on the caller's state and data.
 * Threads.    No state of its own.
 */
#include "hash.h"
#include "sha1_scalar.h"

static const uint32_t initial[5] = {
    0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0,
};

static void portable(void *const *state, const uint8_t *const *data, size_t blocks)
{
    sha1_scalar(state[0], data[0], blocks);
}

const bm_kernel bm_sha1_portable[] = {{"portable", 1, 0, portable}, {NULL, 0, 0, NULL}};

static const bm_kernel *const kernels[] = {
    bm_sha1_portable,
#if defined(__x86_64__)
    bm_sha1_sse2,
    bm_sha1_ssse3,
    bm_sha1_avx,
    bm_sha1_x86,
    bm_sha1_avx2,
    bm_sha1_avx512vl,
    bm_sha1_avx512,
#elif defined(BM_ARM)
    bm_sha1_arm,
#endif
    NULL,
};

const bm_hash bm_hash_sha1 = {BM_WANT_SHA1, 64, 20, 20, 4, 8, initial, kernels};

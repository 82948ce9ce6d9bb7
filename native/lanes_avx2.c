/*
 * lanes_avx2.c: eight messages of SHA-256 and SHA-1, four of SHA-512, in AVX2 registers.
 *
 * Purpose.    There is no SHA-512 instruction on most of these CPUs, and many have none for SHA-1 and SHA-256
 *             either; a message in each word of a vector runs about twice as fast as one on general registers.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 */
#include "hash.h"

#if defined(__x86_64__)

#include "lanes_x86.h"

#define V __m256i
#define V_INLINE static inline __attribute__((always_inline, target("avx2")))
#define V_PAIR_TARGET __attribute__((target("avx2,bmi,bmi2")))
#define V_PAIR_INLINE static inline __attribute__((always_inline, target("avx2,bmi,bmi2")))
#define V_ADD32(x, y) _mm256_add_epi32(x, y)
#define V_ADD64(x, y) _mm256_add_epi64(x, y)
#define V_ROR32(x, n) X8_ROR(x, n)
#define V_ROR64(x, n) X4_ROR(x, n)
#define V_ROR64_8(x) x4_ror8(x)
#define V_ROL32_1(x) _mm256_or_si256(_mm256_add_epi32(x, x), _mm256_srli_epi32(x, 31))
#define V_XOR3(x, y, z) X8_XOR3(x, y, z)
#define V_CHOOSE(x, y, z) _mm256_xor_si256(z, _mm256_and_si256(x, _mm256_xor_si256(y, z)))
#define V_MOST(x, y, z) \
    _mm256_xor_si256(y, _mm256_and_si256(_mm256_xor_si256(x, y), _mm256_xor_si256(y, z)))
#define V_KEEP_IN_MEMORY(w) __asm__ volatile("" ::"r"(w) : "memory")
#define V_SHR32(x, n) _mm256_srli_epi32(x, n)
#define V_SHR64(x, n) _mm256_srli_epi64(x, n)
#define V_XOR(x, y) _mm256_xor_si256(x, y)
#define V_SET32(x) _mm256_set1_epi32((int)(x))
#define V_SET64(x) _mm256_set1_epi64x((long long)(x))
#define V_LOAD_STATE32 x8_load_state
#define V_STORE_STATE32 x8_store_state
#define V_LOAD_STATE64 x4_load_state
#define V_STORE_STATE64 x4_store_state
#define V_LOAD_WORDS32 x8_load_block
#define V_LOAD_WORDS64 x4_load_block

#include "sha1_lanes.h"
#include "sha1_pair.h"
#include "sha256_lanes.h"
#include "sha256_pair.h"
#include "sha512_lanes.h"
#include "sha512_pair.h"

#define WIDE __attribute__((target("avx2")))

WIDE static void sha256_x8(void *const *state, const uint8_t *const *data, size_t blocks)
{
    l256_run(state, data, blocks);
}

WIDE static void sha512_x4(void *const *state, const uint8_t *const *data, size_t blocks)
{
    l512_run(state, data, blocks);
}

WIDE static void sha1_x8(void *const *state, const uint8_t *const *data, size_t blocks)
{
    l1_run(state, data, blocks);
}

V_PAIR_TARGET static void sha256_pair(void *const *state, const uint8_t *const *data, size_t blocks)
{
    p256_run(state, data, blocks);
}

V_PAIR_TARGET static void sha512_pair(void *const *state, const uint8_t *const *data, size_t blocks)
{
    p512_run(state, data, blocks);
}

V_PAIR_TARGET static void sha1_pair(void *const *state, const uint8_t *const *data, size_t blocks)
{
    p1_run(state, data, blocks);
}

const bm_kernel bm_sha256_avx2[] = {
    {"avx2 x8", 8, BM_CPU_AVX2, sha256_x8},
    {"avx2 schedule", 1, BM_CPU_AVX2 | BM_CPU_BMI2, sha256_pair},
    {NULL, 0, 0, NULL},
};
const bm_kernel bm_sha512_avx2[] = {
    {"avx2 x4", 4, BM_CPU_AVX2, sha512_x4},
    {"avx2 schedule", 1, BM_CPU_AVX2 | BM_CPU_BMI2, sha512_pair},
    {NULL, 0, 0, NULL},
};
const bm_kernel bm_sha1_avx2[] = {
    {"avx2 x8", 8, BM_CPU_AVX2, sha1_x8},
    {"avx2 schedule", 1, BM_CPU_AVX2 | BM_CPU_BMI2, sha1_pair},
    {NULL, 0, 0, NULL},
};

#endif

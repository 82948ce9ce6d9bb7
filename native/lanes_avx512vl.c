/*
 * lanes_avx512vl.c: as many messages as AVX2 has room for, with the instructions of AVX-512.
 *
 * Purpose.    One rotation is one instruction, and so is any function of three operands; for as few messages
 *             as these, half-width registers are faster: three such instructions start in a cycle, of the others two.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 */
#include "hash.h"

#if defined(__x86_64__)

#include "lanes_x86.h"

#define V __m256i
#define V_INLINE static inline __attribute__((always_inline, target("avx2,avx512f,avx512vl,avx512bw")))
#define V_PAIR_TARGET __attribute__((target("avx2,avx512f,avx512vl,avx512bw,bmi,bmi2")))
#define V_PAIR_INLINE static inline __attribute__((always_inline, target("avx2,avx512f,avx512vl,avx512bw,bmi,bmi2")))
#define V_ADD32(x, y) _mm256_add_epi32(x, y)
#define V_ADD64(x, y) _mm256_add_epi64(x, y)
#define V_ROR32(x, n) _mm256_ror_epi32(x, n)
#define V_ROR64(x, n) _mm256_ror_epi64(x, n)
#define V_ROR64_8(x) V_ROR64(x, 8)
#define V_ROL32_1(x) _mm256_rol_epi32(x, 1)
#define V_XOR3(x, y, z) _mm256_ternarylogic_epi64(x, y, z, 0x96)
#define V_CHOOSE(x, y, z) _mm256_ternarylogic_epi64(x, y, z, 0xca)
#define V_MOST(x, y, z) _mm256_ternarylogic_epi64(x, y, z, 0xe8)
#define V_KEEP_IN_MEMORY(w) (void)(w)
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

#define WIDE __attribute__((target("avx2,avx512f,avx512vl,avx512bw")))

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

const bm_kernel bm_sha256_avx512vl[] = {
    {"avx512vl x8", 8, BM_CPU_AVX512, sha256_x8},
    {"avx512vl schedule", 1, BM_CPU_AVX512 | BM_CPU_BMI2, sha256_pair},
    {NULL, 0, 0, NULL},
};
const bm_kernel bm_sha512_avx512vl[] = {
    {"avx512vl x4", 4, BM_CPU_AVX512, sha512_x4},
    {"avx512vl schedule", 1, BM_CPU_AVX512 | BM_CPU_BMI2, sha512_pair},
    {NULL, 0, 0, NULL},
};
const bm_kernel bm_sha1_avx512vl[] = {
    {"avx512vl x8", 8, BM_CPU_AVX512, sha1_x8},
    {"avx512vl schedule", 1, BM_CPU_AVX512 | BM_CPU_BMI2, sha1_pair},
    {NULL, 0, 0, NULL},
};

#endif

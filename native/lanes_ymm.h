/*
 * lanes_ymm.h: eight messages of SHA-256 and SHA-1, four of SHA-512, one with its schedule in a vector: what
 * every set of instructions on 256-bit registers has in common. Included once by each lanes_*.c that says,
 * before, which features it needs (V_FEATURES) and how these rotate and combine.
 *
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 */
#include "lanes_x86.h"

#define V __m256i
#define V_INLINE static inline __attribute__((always_inline, target(V_FEATURES)))
#define V_PAIR_TARGET __attribute__((target(V_FEATURES ",bmi,bmi2")))
#define V_PAIR_INLINE static inline __attribute__((always_inline, target(V_FEATURES ",bmi,bmi2")))
#define V_ADD32(x, y) _mm256_add_epi32(x, y)
#define V_ADD64(x, y) _mm256_add_epi64(x, y)
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

#define WIDE __attribute__((target(V_FEATURES)))

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

/* The tables bm_sha*_SET, which hash.h declares. */
#define YMM_KERNELS(set, cpu)                                        \
    const bm_kernel bm_sha256_##set[] = {                            \
        {#set " x8", 8, cpu, sha256_x8},                             \
        {#set " schedule", 1, (cpu) | BM_CPU_BMI2, sha256_pair},     \
        {NULL, 0, 0, NULL},                                          \
    };                                                               \
    const bm_kernel bm_sha512_##set[] = {                            \
        {#set " x4", 4, cpu, sha512_x4},                             \
        {#set " schedule", 1, (cpu) | BM_CPU_BMI2, sha512_pair},     \
        {NULL, 0, 0, NULL},                                          \
    };                                                               \
    const bm_kernel bm_sha1_##set[] = {                              \
        {#set " x8", 8, cpu, sha1_x8},                               \
        {#set " schedule", 1, (cpu) | BM_CPU_BMI2, sha1_pair},       \
        {NULL, 0, 0, NULL},                                          \
    }

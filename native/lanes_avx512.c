/*
 * lanes_avx512.c: sixteen messages of SHA-256 and SHA-1, eight of SHA-512, in AVX-512 registers.
 *
 * Purpose.    AVX-512 rotates in one instruction and has any function of three operands in another, which
 *             halves the work of AVX2 for twice the messages.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 */
#include "hash.h"

#if defined(__x86_64__)

#include "lanes_avx512.h"

#define V __m512i
#define V_INLINE Z_INLINE
#define V_ADD32(x, y) _mm512_add_epi32(x, y)
#define V_ADD64(x, y) _mm512_add_epi64(x, y)
#define V_ROR32(x, n) _mm512_ror_epi32(x, n)
#define V_ROR64(x, n) _mm512_ror_epi64(x, n)
#define V_ROR64_8(x) V_ROR64(x, 8)
#define V_ROL32_1(x) _mm512_rol_epi32(x, 1)
#define V_SHR32(x, n) _mm512_srli_epi32(x, n)
#define V_SHR64(x, n) _mm512_srli_epi64(x, n)
#define V_XOR(x, y) _mm512_xor_si512(x, y)
#define V_XOR3(x, y, z) _mm512_ternarylogic_epi64(x, y, z, 0x96)
#define V_CHOOSE(x, y, z) _mm512_ternarylogic_epi64(x, y, z, 0xca)
#define V_MOST(x, y, z) _mm512_ternarylogic_epi64(x, y, z, 0xe8)
#define V_SET32(x) _mm512_set1_epi32((int)(x))
#define V_SET64(x) _mm512_set1_epi64((long long)(x))
#define V_KEEP_IN_MEMORY(x) (void)(x)
#define V_LOAD_STATE32 z_load_state32
#define V_STORE_STATE32 z_store_state32
#define V_LOAD_STATE64 z_load_state64
#define V_STORE_STATE64 z_store_state64
#define V_LOAD_WORDS32 z_load_words32
#define V_LOAD_WORDS64 z_load_words64

#include "sha1_lanes.h"
#include "sha256_lanes.h"
#include "sha512_lanes.h"

Z_TARGET static void sha256_x16(void *const *state, const uint8_t *const *data, size_t blocks)
{
    l256_run(state, data, blocks);
}

Z_TARGET static void sha512_x8(void *const *state, const uint8_t *const *data, size_t blocks)
{
    l512_run(state, data, blocks);
}

Z_TARGET static void sha1_x16(void *const *state, const uint8_t *const *data, size_t blocks)
{
    l1_run(state, data, blocks);
}

const bm_kernel bm_sha256_avx512[] = {{"avx512 x16", 16, BM_CPU_AVX512, sha256_x16}, {NULL, 0, 0, NULL}};
const bm_kernel bm_sha512_avx512[] = {{"avx512 x8", 8, BM_CPU_AVX512, sha512_x8}, {NULL, 0, 0, NULL}};
const bm_kernel bm_sha1_avx512[] = {{"avx512 x16", 16, BM_CPU_AVX512, sha1_x16}, {NULL, 0, 0, NULL}};

#endif

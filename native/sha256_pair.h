/*
 * sha256_pair.h: SHA-256 of one message on x86-64 without the SHA extensions, two blocks at a time.
 *
 * Purpose.    As in sha512_pair.h: AVX2 computes the schedules of a block and the next one together,
 *             four words of each in a register, beside the rounds of the first on general registers.
 * Ownership.  None: works on the caller's state and data.
 * Threads.    No state of its own.
 */
#ifndef BM_SHA256_PAIR_H
#define BM_SHA256_PAIR_H

#include "hash.h"
#include "rounds_x86.h"

/* Words 4i to 4i + 3 of the first block, then of the second, with their constants. */
typedef uint32_t p256_inputs[16][8];

V_PAIR_INLINE void p256_store(p256_inputs wk, int i, __m256i words, const uint32_t *k)
{
    __m256i constants = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)k));
    _mm256_storeu_si256((void *)wk[i], _mm256_add_epi32(words, constants));
}

V_PAIR_INLINE void p256_load(__m256i *m, p256_inputs wk, const uint8_t *first, const uint8_t *second)
{
    const __m256i swap = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i raw = _mm256_castsi128_si256(_mm_loadu_si128((const void *)(first + 16 * i)));
        raw = _mm256_inserti128_si256(raw, _mm_loadu_si128((const void *)(second + 16 * i)), 1);
        m[i] = _mm256_shuffle_epi8(raw, swap);
        p256_store(wk, i, m[i], bm_sha256_k + 4 * i);
    }
}

V_PAIR_INLINE __m256i p256_small0(__m256i x) { return V_XOR3(V_ROR32(x, 7), V_ROR32(x, 18), _mm256_srli_epi32(x, 3)); }

/* Of two words, each doubled into 64 bits so that a shift rotates; the results are in the even words. */
V_PAIR_INLINE __m256i p256_small1(__m256i doubled)
{
    return V_XOR3(_mm256_srli_epi64(doubled, 17), _mm256_srli_epi64(doubled, 19), _mm256_srli_epi32(doubled, 10));
}

/* The i-th of four registers, sixteen words on. The upper two words depend on the lower two. */
V_PAIR_INLINE void p256_extend(__m256i *m, int i)
{
    const __m256i low = _mm256_broadcastsi128_si256(_mm_set_epi64x(-1, 0x0b0a090803020100));
    const __m256i high = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0b0a090803020100, -1));
    __m256i last = m[(i + 3) & 3];
    __m256i sum = _mm256_add_epi32(m[i], _mm256_alignr_epi8(last, m[(i + 2) & 3], 4));
    sum = _mm256_add_epi32(sum, p256_small0(_mm256_alignr_epi8(m[(i + 1) & 3], m[i], 4)));
    __m256i two = p256_small1(_mm256_shuffle_epi32(last, 0xfa));
    sum = _mm256_add_epi32(sum, _mm256_shuffle_epi8(two, low));
    two = p256_small1(_mm256_shuffle_epi32(sum, 0x50));
    m[i] = _mm256_add_epi32(sum, _mm256_shuffle_epi8(two, high));
}

/* Before every fourth round of the first block, four words of both blocks are extended. */
V_PAIR_INLINE const uint32_t *p256_next(__m256i *m, p256_inputs wk, const uint32_t *k, int i)
{
    if ((i & 3) == 0) {
        p256_extend(m, i / 4);
        p256_store(wk, 4 + i / 4, m[i / 4], k + 16 + i);
    }
    return &wk[i / 4][i & 3];
}

#define P256_EXTENDING(i) p256_next(m, wk, k, i)
#define P256_FIRST(i) &wk[(i) / 4][(i) & 3]
#define P256_SECOND(i) &wk[(i) / 4][4 + ((i) & 3)]

#define P256_LOAD_STATE                                                                            \
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];                               \
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7], ab, bc = b ^ c

#define P256_ADD_STATE                                                                             \
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;                                    \
    state[4] += e, state[5] += f, state[6] += g, state[7] += h

V_PAIR_INLINE void p256_first(uint32_t *state, __m256i *m, p256_inputs all)
{
    P256_LOAD_STATE;
    uint32_t(*wk)[8] = all;
    for (const uint32_t *k = bm_sha256_k; k < bm_sha256_k + 48; k += 16, wk += 4) {
        BM_EIGHT_ROUNDS(BM_ROUND_256, P256_EXTENDING, 0);
        BM_EIGHT_ROUNDS(BM_ROUND_256, P256_EXTENDING, 8);
    }
    BM_EIGHT_ROUNDS(BM_ROUND_256, P256_FIRST, 0);
    BM_EIGHT_ROUNDS(BM_ROUND_256, P256_FIRST, 8);
    P256_ADD_STATE;
}

V_PAIR_INLINE void p256_second(uint32_t *state, p256_inputs all)
{
    P256_LOAD_STATE;
    for (uint32_t(*wk)[8] = all; wk < all + 16; wk += 4) {
        BM_EIGHT_ROUNDS(BM_ROUND_256, P256_SECOND, 0);
        BM_EIGHT_ROUNDS(BM_ROUND_256, P256_SECOND, 8);
    }
    P256_ADD_STATE;
}

V_PAIR_INLINE void p256_run(void *const *states, const uint8_t *const *data, size_t blocks)
{
    const uint8_t *at = data[0];
    p256_inputs wk;
    for (; blocks; blocks -= blocks > 1 ? 2 : 1, at += 128) {
        __m256i m[4];
        p256_load(m, wk, at, blocks > 1 ? at + 64 : at);
        p256_first(states[0], m, wk);
        if (blocks > 1) p256_second(states[0], wk);
    }
}

#endif

/*
 * sha512_pair.h: SHA-512 of one message on x86-64, two blocks at a time.
 *
 * Purpose.    The message schedule does not depend on the state. AVX2 computes it for a block and the
 *             next one at once, two words of each in a register, while the rounds of the first run on
 *             general registers; those of the second then find their words ready.
 * Ownership.  None: works on the caller's state and data.
 * Threads.    No state of its own.
 */
#ifndef BM_SHA512_PAIR_H
#define BM_SHA512_PAIR_H

#include "hash.h"
#include "rounds_x86.h"

/* Words 2i and 2i + 1 of the first block, then of the second, with their constants. */
typedef uint64_t p512_inputs[40][4];

V_PAIR_INLINE __m256i p512_small0(__m256i x)
{
    return V_XOR3(V_ROR64(x, 1), V_ROR64_8(x), _mm256_srli_epi64(x, 7));
}

V_PAIR_INLINE __m256i p512_small1(__m256i x) { return V_XOR3(V_ROR64(x, 19), V_ROR64(x, 61), _mm256_srli_epi64(x, 6)); }

V_PAIR_INLINE void p512_store(p512_inputs wk, int i, __m256i words, const uint64_t *k)
{
    __m256i constants = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)k));
    _mm256_storeu_si256((void *)wk[i], _mm256_add_epi64(words, constants));
}

V_PAIR_INLINE void p512_load(__m256i *m, p512_inputs wk, const uint8_t *first, const uint8_t *second)
{
    const __m256i swap = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607));
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        __m256i raw = _mm256_castsi128_si256(_mm_loadu_si128((const void *)(first + 16 * i)));
        raw = _mm256_inserti128_si256(raw, _mm_loadu_si128((const void *)(second + 16 * i)), 1);
        m[i] = _mm256_shuffle_epi8(raw, swap);
        p512_store(wk, i, m[i], bm_sha512_k + 2 * i);
    }
}

/* The i-th of eight registers, sixteen words on. */
V_PAIR_INLINE void p512_extend(__m256i *m, int i)
{
    __m256i sum = _mm256_add_epi64(m[i], _mm256_alignr_epi8(m[(i + 5) & 7], m[(i + 4) & 7], 8));
    sum = _mm256_add_epi64(sum, p512_small0(_mm256_alignr_epi8(m[(i + 1) & 7], m[i], 8)));
    m[i] = _mm256_add_epi64(sum, p512_small1(m[(i + 7) & 7]));
}

/* Before every second round of the first block, two words of both blocks are extended. */
V_PAIR_INLINE const uint64_t *p512_next(__m256i *m, p512_inputs wk, const uint64_t *k, int i)
{
    if ((i & 1) == 0) {
        p512_extend(m, i / 2);
        p512_store(wk, 8 + i / 2, m[i / 2], k + 16 + i);
    }
    return &wk[i / 2][i & 1];
}

#define P512_EXTENDING(i) p512_next(m, wk, k, i)
#define P512_FIRST(i) &wk[(i) / 2][(i) & 1]
#define P512_SECOND(i) &wk[(i) / 2][2 + ((i) & 1)]

#define P512_LOAD_STATE                                                                            \
    uint64_t a = state[0], b = state[1], c = state[2], d = state[3];                               \
    uint64_t e = state[4], f = state[5], g = state[6], h = state[7], ab, bc = b ^ c

#define P512_ADD_STATE                                                                             \
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;                                    \
    state[4] += e, state[5] += f, state[6] += g, state[7] += h

V_PAIR_INLINE void p512_first(uint64_t *state, __m256i *m, p512_inputs all)
{
    P512_LOAD_STATE;
    uint64_t(*wk)[4] = all;
    for (const uint64_t *k = bm_sha512_k; k < bm_sha512_k + 64; k += 16, wk += 8) {
        BM_EIGHT_ROUNDS(BM_ROUND_512, P512_EXTENDING, 0);
        BM_EIGHT_ROUNDS(BM_ROUND_512, P512_EXTENDING, 8);
    }
    BM_EIGHT_ROUNDS(BM_ROUND_512, P512_FIRST, 0);
    BM_EIGHT_ROUNDS(BM_ROUND_512, P512_FIRST, 8);
    P512_ADD_STATE;
}

/* The rounds of the second block; once its first sixteen words are used, the next pair is loaded there. */
V_PAIR_INLINE void p512_second(uint64_t *state, __m256i *m, p512_inputs all, const uint8_t *next, size_t blocks)
{
    P512_LOAD_STATE;
    uint64_t(*wk)[4] = all;
    BM_EIGHT_ROUNDS(BM_ROUND_512, P512_SECOND, 0);
    BM_EIGHT_ROUNDS(BM_ROUND_512, P512_SECOND, 8);
    p512_load(m, all, next, blocks > 1 ? next + 128 : next);
    for (wk += 8; wk < all + 40; wk += 8) {
        BM_EIGHT_ROUNDS(BM_ROUND_512, P512_SECOND, 0);
        BM_EIGHT_ROUNDS(BM_ROUND_512, P512_SECOND, 8);
    }
    P512_ADD_STATE;
}

V_PAIR_INLINE void p512_run(void *const *states, const uint8_t *const *data, size_t blocks)
{
    const uint8_t *at = data[0];
    p512_inputs wk;
    __m256i m[8];
    if (blocks == 0) return;
    p512_load(m, wk, at, blocks > 1 ? at + 128 : at);
    for (; blocks; at += 256) {
        p512_first(states[0], m, wk);
        if (blocks == 1) return;
        blocks -= 2;
        p512_second(states[0], m, wk, blocks ? at + 256 : at, blocks); /* at the end: loads what is there */
    }
}

#endif

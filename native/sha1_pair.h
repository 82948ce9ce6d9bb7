/*
 * sha1_pair.h: SHA-1 of one message on x86-64 without the SHA extensions, two blocks at a time; see
 * sha256_pair.h.
 *
 * From word 32 on, four words are computed from words at least six back, as W[t] = (W[t-6] ^ W[t-16] ^
 * W[t-28] ^ W[t-32]) <<< 2, which follows from FIPS 180-4's definition put into itself.
 */
#ifndef BM_SHA1_PAIR_H
#define BM_SHA1_PAIR_H

#include "hash.h"
#include "rounds_x86.h"

/* Words 4i to 4i + 3 of the first block, then of the second, with their constants. */
typedef uint32_t p1_inputs[20][8];

V_PAIR_INLINE void p1_store(p1_inputs wk, int i, __m256i words)
{
    static const uint32_t constants[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    _mm256_storeu_si256((void *)wk[i], V_ADD32(words, V_SET32(constants[i / 5])));
}

V_PAIR_INLINE void p1_load(__m256i *m, p1_inputs wk, const uint8_t *first, const uint8_t *second)
{
    const __m256i swap = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i raw = _mm256_castsi128_si256(_mm_loadu_si128((const void *)(first + 16 * i)));
        raw = _mm256_inserti128_si256(raw, _mm_loadu_si128((const void *)(second + 16 * i)), 1);
        m[i] = _mm256_shuffle_epi8(raw, swap);
        p1_store(wk, i, m[i]);
    }
}

/* Words 4i to 4i + 3 for i below 8. The last depends on the first, whose share is added at the end. */
V_PAIR_INLINE __m256i p1_early(const __m256i *m, int i)
{
    __m256i x = V_XOR3(m[i - 4], _mm256_alignr_epi8(m[i - 3], m[i - 4], 8), m[i - 2]);
    x = V_XOR(x, _mm256_srli_si256(m[i - 1], 4));
    return V_XOR(V_ROR32(x, 31), V_ROR32(_mm256_slli_si256(x, 12), 30));
}

V_PAIR_INLINE __m256i p1_late(const __m256i *m, int i)
{
    __m256i x = _mm256_alignr_epi8(m[(i + 7) & 7], m[(i + 6) & 7], 8);
    x = V_XOR(V_XOR3(m[i & 7], m[(i + 1) & 7], m[(i + 4) & 7]), x);
    return V_ROR32(x, 30);
}

/* Before every fourth round of the first block, four words of both blocks are extended, sixteen ahead. */
V_PAIR_INLINE const uint32_t *p1_next(__m256i *m, p1_inputs wk, int round)
{
    int i = round / 4 + 4;
    if ((round & 3) == 0 && i < 20) {
        m[i & 7] = i < 8 ? p1_early(m, i) : p1_late(m, i);
        p1_store(wk, i, m[i & 7]);
    }
    return &wk[round / 4][round & 3];
}

#define P1_EXTENDING(i) p1_next(m, wk, i)
#define P1_SECOND(i) &wk[(i) / 4][4 + ((i) & 3)]

#define P1_LOAD_STATE uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4]
#define P1_ADD_STATE state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e

#define P1_EIGHTY(input)                                                                           \
    BM_TWENTY_ROUNDS_1(BM_SHA1_CHOOSE, input, 0);                                                                    \
    BM_TWENTY_ROUNDS_1(BM_SHA1_PARITY, input, 20);                                                               \
    BM_TWENTY_ROUNDS_1(BM_SHA1_MAJORITY, input, 40);                                                                  \
    BM_TWENTY_ROUNDS_1(BM_SHA1_PARITY, input, 60)

V_PAIR_INLINE void p1_first(uint32_t *state, __m256i *m, p1_inputs wk)
{
    P1_LOAD_STATE;
    P1_EIGHTY(P1_EXTENDING);
    P1_ADD_STATE;
}

V_PAIR_INLINE void p1_second(uint32_t *state, p1_inputs wk)
{
    P1_LOAD_STATE;
    P1_EIGHTY(P1_SECOND);
    P1_ADD_STATE;
}

V_PAIR_INLINE void p1_run(void *const *states, const uint8_t *const *data, size_t blocks)
{
    const uint8_t *at = data[0];
    p1_inputs wk;
    for (; blocks; blocks -= blocks > 1 ? 2 : 1, at += 128) {
        __m256i m[8];
        p1_load(m, wk, at, blocks > 1 ? at + 64 : at);
        p1_first(states[0], m, wk);
        if (blocks > 1) p1_second(states[0], wk);
    }
}

#endif

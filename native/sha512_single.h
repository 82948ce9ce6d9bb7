/*
 * sha512_single.h: SHA-512 of one message on x86-64 without BMI2: the schedule of a block in 128-bit registers,
 * two words in each, beside its rounds on general registers; see sha512_pair.h and single_x86.h.
 */
#ifndef BM_SHA512_SINGLE_H
#define BM_SHA512_SINGLE_H

#define O512_ROR(x, n) _mm_or_si128(_mm_srli_epi64(x, n), _mm_slli_epi64(x, 64 - (n)))

O_INLINE __m128i o512_small0(__m128i x) { return O_XOR3(O512_ROR(x, 1), O_ROR64_8(x), _mm_srli_epi64(x, 7)); }

O_INLINE __m128i o512_small1(__m128i x) { return O_XOR3(O512_ROR(x, 19), O512_ROR(x, 61), _mm_srli_epi64(x, 6)); }

O_INLINE void o512_store(uint64_t *wk, __m128i words, const uint64_t *k)
{
    _mm_store_si128((void *)wk, _mm_add_epi64(words, _mm_loadu_si128((const void *)k)));
}

O_INLINE void o512_load(__m128i *m, uint64_t *wk, const uint8_t *at)
{
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        m[i] = O_SWAP64(_mm_loadu_si128((const void *)(at + 16 * i)));
        o512_store(wk + 2 * i, m[i], bm_sha512_k + 2 * i);
    }
}

/* The i-th of eight registers, sixteen words on. */
O_INLINE void o512_extend(__m128i *m, int i)
{
    __m128i sum = _mm_add_epi64(m[i], O_AFTER_HALF(m[(i + 4) & 7], m[(i + 5) & 7]));
    sum = _mm_add_epi64(sum, o512_small0(O_AFTER_HALF(m[i], m[(i + 1) & 7])));
    m[i] = _mm_add_epi64(sum, o512_small1(m[(i + 7) & 7]));
}

/* Before every second round, two words are extended, sixteen ahead. */
O_INLINE const uint64_t *o512_next(__m128i *m, uint64_t *wk, const uint64_t *k, int i)
{
    if ((i & 1) == 0) {
        o512_extend(m, i / 2);
        o512_store(wk + 16 + i, m[i / 2], k + 16 + i);
    }
    return wk + i;
}

#define O512_EXTENDING(i) o512_next(m, wk, k, i)
#define O512_READY(i) (wk + (i))

O_INLINE void o512_block(uint64_t *state, const uint8_t *at)
{
    uint64_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint64_t e = state[4], f = state[5], g = state[6], h = state[7], ab, bc = b ^ c;
    _Alignas(16) uint64_t all[80];
    uint64_t *wk = all;
    __m128i m[8];
    o512_load(m, wk, at);
    for (const uint64_t *k = bm_sha512_k; k < bm_sha512_k + 64; k += 16, wk += 16) {
        BM_EIGHT_ROUNDS(BM_ROUND_512, O512_EXTENDING, 0);
        BM_EIGHT_ROUNDS(BM_ROUND_512, O512_EXTENDING, 8);
    }
    BM_EIGHT_ROUNDS(BM_ROUND_512, O512_READY, 0);
    BM_EIGHT_ROUNDS(BM_ROUND_512, O512_READY, 8);
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

O_TARGET static void sha512_single(void *const *states, const uint8_t *const *data, size_t blocks)
{
    for (size_t i = 0; i < blocks; i++) o512_block(states[0], data[0] + 128 * i);
}

#endif

/*
 * sha256_single.h: SHA-256 of one message on x86-64 without BMI2: the schedule of a block in 128-bit registers,
 * four words in each, beside its rounds on general registers; see sha256_pair.h and single_x86.h.
 */
#ifndef BM_SHA256_SINGLE_H
#define BM_SHA256_SINGLE_H

#define O256_ROR(x, n) _mm_or_si128(_mm_srli_epi32(x, n), _mm_slli_epi32(x, 32 - (n)))

O_INLINE void o256_store(uint32_t *wk, __m128i words, const uint32_t *k)
{
    _mm_store_si128((void *)wk, _mm_add_epi32(words, _mm_loadu_si128((const void *)k)));
}

O_INLINE void o256_load(__m128i *m, uint32_t *wk, const uint8_t *at)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        m[i] = O_SWAP32(_mm_loadu_si128((const void *)(at + 16 * i)));
        o256_store(wk + 4 * i, m[i], bm_sha256_k + 4 * i);
    }
}

O_INLINE __m128i o256_small0(__m128i x) { return O_XOR3(O256_ROR(x, 7), O256_ROR(x, 18), _mm_srli_epi32(x, 3)); }

/* Of two words, each doubled into 64 bits so that a shift rotates; the results are in the even words. */
O_INLINE __m128i o256_small1(__m128i doubled)
{
    return O_XOR3(_mm_srli_epi64(doubled, 17), _mm_srli_epi64(doubled, 19), _mm_srli_epi32(doubled, 10));
}

/* The i-th of four registers, sixteen words on. The upper two words depend on the lower two. */
O_INLINE void o256_extend(__m128i *m, int i)
{
    __m128i last = m[(i + 3) & 3];
    __m128i sum = _mm_add_epi32(m[i], O_AFTER_ONE(m[(i + 2) & 3], last));
    sum = _mm_add_epi32(sum, o256_small0(O_AFTER_ONE(m[i], m[(i + 1) & 3])));
    sum = _mm_add_epi32(sum, O_EVEN_TO_LOW(o256_small1(_mm_shuffle_epi32(last, 0xfa))));
    m[i] = _mm_add_epi32(sum, O_EVEN_TO_HIGH(o256_small1(_mm_shuffle_epi32(sum, 0x50))));
}

/* Before every fourth round, four words are extended, sixteen ahead. */
O_INLINE const uint32_t *o256_next(__m128i *m, uint32_t *wk, const uint32_t *k, int i)
{
    if ((i & 3) == 0) {
        o256_extend(m, i / 4);
        o256_store(wk + 16 + i, m[i / 4], k + 16 + i);
    }
    return wk + i;
}

#define O256_EXTENDING(i) o256_next(m, wk, k, i)
#define O256_READY(i) (wk + (i))

O_INLINE void o256_block(uint32_t *state, const uint8_t *at)
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7], ab, bc = b ^ c;
    _Alignas(16) uint32_t all[64];
    uint32_t *wk = all;
    __m128i m[4];
    o256_load(m, wk, at);
    for (const uint32_t *k = bm_sha256_k; k < bm_sha256_k + 48; k += 16, wk += 16) {
        BM_EIGHT_ROUNDS(BM_ROUND_256, O256_EXTENDING, 0);
        BM_EIGHT_ROUNDS(BM_ROUND_256, O256_EXTENDING, 8);
    }
    BM_EIGHT_ROUNDS(BM_ROUND_256, O256_READY, 0);
    BM_EIGHT_ROUNDS(BM_ROUND_256, O256_READY, 8);
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

O_TARGET static void sha256_single(void *const *states, const uint8_t *const *data, size_t blocks)
{
    for (size_t i = 0; i < blocks; i++) o256_block(states[0], data[0] + 64 * i);
}

#endif

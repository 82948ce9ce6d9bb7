/*
 * sha1_single.h: SHA-1 of one message on x86-64 without BMI2: the schedule of a block in 128-bit registers, four
 * words in each, beside its rounds on general registers; see sha1_pair.h, also for the words from 32 on.
 */
#ifndef BM_SHA1_SINGLE_H
#define BM_SHA1_SINGLE_H

#define O1_ROL(x, n) _mm_or_si128(_mm_slli_epi32(x, n), _mm_srli_epi32(x, 32 - (n)))

O_INLINE void o1_store(uint32_t *wk, int i, __m128i words)
{
    static const uint32_t constants[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    _mm_store_si128((void *)(wk + 4 * i), _mm_add_epi32(words, _mm_set1_epi32((int)constants[i / 5])));
}

O_INLINE void o1_load(__m128i *m, uint32_t *wk, const uint8_t *at)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        m[i] = O_SWAP32(_mm_loadu_si128((const void *)(at + 16 * i)));
        o1_store(wk, i, m[i]);
    }
}

/* Words 4i to 4i + 3 for i below 8. The last depends on the first, whose share is added at the end. */
O_INLINE __m128i o1_early(const __m128i *m, int i)
{
    __m128i x = O_XOR3(m[i - 4], O_AFTER_HALF(m[i - 4], m[i - 3]), m[i - 2]);
    x = _mm_xor_si128(x, _mm_srli_si128(m[i - 1], 4));
    return _mm_xor_si128(O1_ROL(x, 1), O1_ROL(_mm_slli_si128(x, 12), 2));
}

O_INLINE __m128i o1_late(const __m128i *m, int i)
{
    __m128i x = O_AFTER_HALF(m[(i + 6) & 7], m[(i + 7) & 7]);
    x = _mm_xor_si128(O_XOR3(m[i & 7], m[(i + 1) & 7], m[(i + 4) & 7]), x);
    return O1_ROL(x, 2);
}

/* Before every fourth round, four words are extended, sixteen ahead. */
O_INLINE const uint32_t *o1_next(__m128i *m, uint32_t *wk, int round)
{
    int i = round / 4 + 4;
    if ((round & 3) == 0 && i < 20) {
        m[i & 7] = i < 8 ? o1_early(m, i) : o1_late(m, i);
        o1_store(wk, i, m[i & 7]);
    }
    return wk + round;
}

#define O1_EXTENDING(i) o1_next(m, wk, i)

O_INLINE void o1_block(uint32_t *state, const uint8_t *at)
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    _Alignas(16) uint32_t wk[80];
    __m128i m[8];
    o1_load(m, wk, at);
    BM_TWENTY_ROUNDS_1(BM_SHA1_CHOOSE, O1_EXTENDING, 0);
    BM_TWENTY_ROUNDS_1(BM_SHA1_PARITY, O1_EXTENDING, 20);
    BM_TWENTY_ROUNDS_1(BM_SHA1_MAJORITY, O1_EXTENDING, 40);
    BM_TWENTY_ROUNDS_1(BM_SHA1_PARITY, O1_EXTENDING, 60);
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

O_TARGET static void sha1_single(void *const *states, const uint8_t *const *data, size_t blocks)
{
    for (size_t i = 0; i < blocks; i++) o1_block(states[0], data[0] + 64 * i);
}

#endif

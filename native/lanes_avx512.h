/*
 * lanes_avx512.h: sixteen 32-bit or eight 64-bit messages side by side in AVX-512 registers: loads that
 * transpose, states in and out. No state of its own.
 *
 * Chunks of 16 bytes are put in their place by the load itself, which costs a uop on either vector port;
 * what is left are shuffles within 128 bits.
 */
#ifndef BM_LANES_AVX512_H
#define BM_LANES_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define Z_TARGET __attribute__((target("avx512f,avx512bw")))
#define Z_INLINE static inline __attribute__((always_inline, target("avx512f,avx512bw")))

Z_INLINE __m128i z_chunk(const void *at) { return _mm_loadu_si128(at); }

/* Four chunks, one above the other. */
Z_INLINE __m512i z_stack(const uint8_t *r0, const uint8_t *r1, const uint8_t *r2, const uint8_t *r3)
{
    __m512i x = _mm512_castsi128_si512(z_chunk(r0));
    x = _mm512_inserti32x4(x, z_chunk(r1), 1);
    x = _mm512_inserti32x4(x, z_chunk(r2), 2);
    return _mm512_inserti32x4(x, z_chunk(r3), 3);
}

Z_INLINE void z_unstack(__m512i x, uint8_t *r0, uint8_t *r1, uint8_t *r2, uint8_t *r3)
{
    _mm_storeu_si128((void *)r0, _mm512_castsi512_si128(x));
    _mm_storeu_si128((void *)r1, _mm512_extracti32x4_epi32(x, 1));
    _mm_storeu_si128((void *)r2, _mm512_extracti32x4_epi32(x, 2));
    _mm_storeu_si128((void *)r3, _mm512_extracti32x4_epi32(x, 3));
}

/* Transposes four 4x4 matrices of 32-bit words, one in each 128 bits. */
Z_INLINE void z_transpose32(__m512i *m)
{
    __m512i low01 = _mm512_unpacklo_epi32(m[0], m[1]), high01 = _mm512_unpackhi_epi32(m[0], m[1]);
    __m512i low23 = _mm512_unpacklo_epi32(m[2], m[3]), high23 = _mm512_unpackhi_epi32(m[2], m[3]);
    m[0] = _mm512_unpacklo_epi64(low01, low23), m[1] = _mm512_unpackhi_epi64(low01, low23);
    m[2] = _mm512_unpacklo_epi64(high01, high23), m[3] = _mm512_unpackhi_epi64(high01, high23);
}

/* The same of 2x2 matrices of 64-bit words. */
Z_INLINE void z_transpose64(__m512i *m)
{
    __m512i low = _mm512_unpacklo_epi64(m[0], m[1]);
    m[1] = _mm512_unpackhi_epi64(m[0], m[1]);
    m[0] = low;
}

/* Words at `at` of sixteen rows: m[i] has word i of row 0 to 15. */
Z_INLINE void z_rows32(__m512i *m, const uint8_t *const *row, size_t at)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) m[i] = z_stack(row[i] + at, row[i + 4] + at, row[i + 8] + at, row[i + 12] + at);
}

Z_INLINE void z_rows64(__m512i *m, const uint8_t *const *row, size_t at)
{
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) m[i] = z_stack(row[i] + at, row[i + 2] + at, row[i + 4] + at, row[i + 6] + at);
}

/* The sixteen big-endian words of a block of each lane. */
Z_INLINE void z_load_words32(__m512i *w, const uint8_t *const *data, size_t at)
{
    const __m512i swap = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        z_rows32(w + i, data, at + 4 * (size_t)i);
        z_transpose32(w + i);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) w[i] = _mm512_shuffle_epi8(w[i], swap);
}

Z_INLINE void z_load_words64(__m512i *w, const uint8_t *const *data, size_t at)
{
    const __m512i swap = _mm512_broadcast_i32x4(_mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607));
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        z_rows64(w + i, data, at + 8 * (size_t)i);
        z_transpose64(w + i);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) w[i] = _mm512_shuffle_epi8(w[i], swap);
}

/* `words` is 8, or 5: then the last is gathered. */
Z_INLINE void z_load_state32(__m512i *v, void *const *state, int words)
{
    uint32_t fifth[16];
    const uint8_t *const *rows = (const uint8_t *const *)state;
    for (int i = 0; i + 4 <= words; i += 4) {
        z_rows32(v + i, rows, 4 * (size_t)i);
        z_transpose32(v + i);
    }
    if (words != 5) return;
    for (int lane = 0; lane < 16; lane++) fifth[lane] = ((const uint32_t *)state[lane])[4];
    v[4] = _mm512_loadu_si512((const void *)fifth);
}

Z_INLINE void z_store_state32(__m512i *v, void *const *state, int words)
{
    uint32_t fifth[16];
    uint8_t *const *rows = (uint8_t *const *)state;
    for (int half = 0; half + 4 <= words; half += 4) {
        z_transpose32(v + half);
        for (int i = 0; i < 4; i++)
            z_unstack(v[half + i], rows[i] + 4 * half, rows[i + 4] + 4 * half, rows[i + 8] + 4 * half,
                      rows[i + 12] + 4 * half);
    }
    if (words != 5) return;
    _mm512_storeu_si512((void *)fifth, v[4]);
    for (int lane = 0; lane < 16; lane++) ((uint32_t *)state[lane])[4] = fifth[lane];
}

Z_INLINE void z_load_state64(__m512i *v, void *const *state)
{
    const uint8_t *const *rows = (const uint8_t *const *)state;
    for (int i = 0; i < 8; i += 2) {
        z_rows64(v + i, rows, 8 * (size_t)i);
        z_transpose64(v + i);
    }
}

Z_INLINE void z_store_state64(__m512i *v, void *const *state)
{
    uint8_t *const *rows = (uint8_t *const *)state;
    for (int pair = 0; pair < 8; pair += 2) {
        z_transpose64(v + pair);
        for (int i = 0; i < 2; i++)
            z_unstack(v[pair + i], rows[i] + 8 * pair, rows[i + 2] + 8 * pair, rows[i + 4] + 8 * pair,
                      rows[i + 6] + 8 * pair);
    }
}

#endif

/*
 * lanes_x86.h: eight 32-bit or four 64-bit messages side by side in AVX2 registers: rotations,
 * transposed loads, states in and out. No state of its own.
 */
#ifndef BM_LANES_X86_H
#define BM_LANES_X86_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define X_INLINE static inline __attribute__((always_inline, target("avx2")))

#define X8_ROR(x, n) _mm256_or_si256(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))
#define X8_XOR3(x, y, z) _mm256_xor_si256(x, _mm256_xor_si256(y, z))
#define X4_ROR(x, n) _mm256_or_si256(_mm256_srli_epi64(x, n), _mm256_slli_epi64(x, 64 - (n)))

/* A rotation by eight is one byte shuffle. */
X_INLINE __m256i x4_ror8(__m256i x)
{
    const __m256i by8 = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x080f0e0d0c0b0a09, 0x0007060504030201));
    return _mm256_shuffle_epi8(x, by8);
}

/* Transposes an 8x8 matrix of 32-bit words in place. */
X_INLINE void x8_transpose(__m256i *m)
{
    __m256i pairs[8], quads[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_epi32(m[i], m[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(m[i], m[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        quads[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        quads[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        quads[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        quads[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        m[i] = _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x20);
        m[i + 4] = _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x31);
    }
}

/* w[i] = the i-th big-endian word of each lane's 32 bytes at `at`. */
X_INLINE void x8_load_words(__m256i *w, const uint8_t *const *data, size_t at)
{
    const __m256i swap = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
    for (int lane = 0; lane < 8; lane++)
        w[lane] = _mm256_shuffle_epi8(_mm256_loadu_si256((const void *)(data[lane] + at)), swap);
    x8_transpose(w);
}

X_INLINE void x8_load_block(__m256i *w, const uint8_t *const *data, size_t at)
{
    x8_load_words(w, data, at);
    x8_load_words(w + 8, data, at + 32);
}

X_INLINE void x8_load_state(__m256i *v, void *const *state, int words)
{
    uint32_t rows[8][8] = {{0}};
    for (int lane = 0; lane < 8; lane++) {
        const uint32_t *from = state[lane];
        for (int i = 0; i < words; i++) rows[i][lane] = from[i];
    }
    for (int i = 0; i < words; i++) v[i] = _mm256_loadu_si256((const void *)rows[i]);
}

X_INLINE void x8_store_state(const __m256i *v, void *const *state, int words)
{
    uint32_t rows[8][8];
    for (int i = 0; i < words; i++) _mm256_storeu_si256((void *)rows[i], v[i]);
    for (int lane = 0; lane < 8; lane++) {
        uint32_t *to = state[lane];
        for (int i = 0; i < words; i++) to[i] = rows[i][lane];
    }
}

/* Transposes a 4x4 matrix of 64-bit words in place. */
X_INLINE void x4_transpose(__m256i *m)
{
    __m256i low01 = _mm256_unpacklo_epi64(m[0], m[1]), high01 = _mm256_unpackhi_epi64(m[0], m[1]);
    __m256i low23 = _mm256_unpacklo_epi64(m[2], m[3]), high23 = _mm256_unpackhi_epi64(m[2], m[3]);
    m[0] = _mm256_permute2x128_si256(low01, low23, 0x20);
    m[1] = _mm256_permute2x128_si256(high01, high23, 0x20);
    m[2] = _mm256_permute2x128_si256(low01, low23, 0x31);
    m[3] = _mm256_permute2x128_si256(high01, high23, 0x31);
}

X_INLINE void x4_load_words(__m256i *w, const uint8_t *const *data, size_t at)
{
    const __m256i swap = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607));
    for (int lane = 0; lane < 4; lane++)
        w[lane] = _mm256_shuffle_epi8(_mm256_loadu_si256((const void *)(data[lane] + at)), swap);
    x4_transpose(w);
}

X_INLINE void x4_load_block(__m256i *w, const uint8_t *const *data, size_t at)
{
    for (size_t quarter = 0; quarter < 4; quarter++) x4_load_words(w + 4 * quarter, data, at + 32 * quarter);
}

X_INLINE void x4_load_state(__m256i *v, void *const *state)
{
    for (int half = 0; half < 8; half += 4) {
        for (int lane = 0; lane < 4; lane++)
            v[half + lane] = _mm256_loadu_si256((const void *)((const uint64_t *)state[lane] + half));
        x4_transpose(v + half);
    }
}

X_INLINE void x4_store_state(__m256i *v, void *const *state)
{
    for (int half = 0; half < 8; half += 4) {
        x4_transpose(v + half);
        for (int lane = 0; lane < 4; lane++)
            _mm256_storeu_si256((void *)((uint64_t *)state[lane] + half), v[half + lane]);
    }
}

#endif

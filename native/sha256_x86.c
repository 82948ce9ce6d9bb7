/*
 * sha256_x86.c: SHA-256 on x86-64: the SHA extensions on 1 to 4 interleaved messages, AVX2 on eight
 * messages, and general registers with BMI2 rotates.
 *
 * Purpose.    sha256rnds2 has a latency of about four cycles and one message is a single chain of
 *             them; two to four independent messages fill the gaps.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 *
 * Source of the instruction semantics: Intel SDM volume 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2.
 */
#include "hash.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "lanes_x86.h"
#include "sha256_scalar.h"

#define NI __attribute__((target("sha,sse4.1,ssse3")))
#define NI_INLINE static inline __attribute__((always_inline, target("sha,sse4.1,ssse3")))

typedef struct { __m128i abef, cdgh; } ni_state;

/* The instructions want {a,b,e,f} and {c,d,g,h}, highest word first. */
NI_INLINE ni_state ni_load(const uint32_t *state)
{
    __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const void *)state), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const void *)(state + 4)), 0x1b);
    return (ni_state){_mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xf0)};
}

NI_INLINE void ni_store(uint32_t *state, ni_state s)
{
    __m128i feba = _mm_shuffle_epi32(s.abef, 0x1b);
    __m128i dchg = _mm_shuffle_epi32(s.cdgh, 0xb1);
    _mm_storeu_si128((void *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

NI_INLINE __m128i ni_words(const uint8_t *data)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    return _mm_shuffle_epi8(_mm_loadu_si128((const void *)data), swap);
}

/* Rounds 4 * group to 4 * group + 3; m is a ring of the last sixteen schedule words. */
NI_INLINE void ni_group(ni_state *s, __m128i *m, int group)
{
    __m128i k = _mm_loadu_si128((const void *)(bm_sha256_k + 4 * group));
    __m128i input = _mm_add_epi32(m[group & 3], k);
    s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, input);
    s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(input, 0x0e));
}

NI_INLINE void ni_extend(__m128i *m, int group)
{
    __m128i last = m[(group + 3) & 3];
    __m128i sum = _mm_sha256msg1_epu32(m[group & 3], m[(group + 1) & 3]);
    sum = _mm_add_epi32(sum, _mm_alignr_epi8(last, m[(group + 2) & 3], 4));
    m[group & 3] = _mm_sha256msg2_epu32(sum, last);
}

NI_INLINE void ni_block(ni_state *s, const uint8_t *const *data, size_t at, const int lanes)
{
    __m128i m[4][4];
    ni_state before[4];
#pragma GCC unroll 4
    for (int lane = 0; lane < lanes; lane++) {
        before[lane] = s[lane];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) m[lane][i] = ni_words(data[lane] + at + 16 * i);
    }
#pragma GCC unroll 16
    for (int group = 0; group < 16; group++) {
#pragma GCC unroll 4
        for (int lane = 0; lane < lanes; lane++) {
            ni_group(&s[lane], m[lane], group);
            if (group < 12) ni_extend(m[lane], group);
        }
    }
#pragma GCC unroll 4
    for (int lane = 0; lane < lanes; lane++) {
        s[lane].abef = _mm_add_epi32(s[lane].abef, before[lane].abef);
        s[lane].cdgh = _mm_add_epi32(s[lane].cdgh, before[lane].cdgh);
    }
}

NI_INLINE void ni_run(void *const *state, const uint8_t *const *data, size_t blocks, const int lanes)
{
    ni_state s[4];
#pragma GCC unroll 4
    for (int lane = 0; lane < lanes; lane++) s[lane] = ni_load(state[lane]);
    for (size_t at = 0; at < blocks * 64; at += 64) ni_block(s, data, at, lanes);
#pragma GCC unroll 4
    for (int lane = 0; lane < lanes; lane++) ni_store(state[lane], s[lane]);
}

NI static void ni1(void *const *s, const uint8_t *const *d, size_t n) { ni_run(s, d, n, 1); }
NI static void ni2(void *const *s, const uint8_t *const *d, size_t n) { ni_run(s, d, n, 2); }
NI static void ni3(void *const *s, const uint8_t *const *d, size_t n) { ni_run(s, d, n, 3); }
NI static void ni4(void *const *s, const uint8_t *const *d, size_t n) { ni_run(s, d, n, 4); }

/* Eight messages in the words of AVX2 registers. */
#define X8 static inline __attribute__((always_inline, target("avx2")))

X8 __m256i x8_big0(__m256i x) { return X8_XOR3(X8_ROR(x, 2), X8_ROR(x, 13), X8_ROR(x, 22)); }
X8 __m256i x8_big1(__m256i x) { return X8_XOR3(X8_ROR(x, 6), X8_ROR(x, 11), X8_ROR(x, 25)); }
X8 __m256i x8_small0(__m256i x) { return X8_XOR3(X8_ROR(x, 7), X8_ROR(x, 18), _mm256_srli_epi32(x, 3)); }
X8 __m256i x8_small1(__m256i x) { return X8_XOR3(X8_ROR(x, 17), X8_ROR(x, 19), _mm256_srli_epi32(x, 10)); }

X8 void x8_round(__m256i *v, int round, __m256i w)
{
    __m256i a = v[-round & 7], b = v[(1 - round) & 7], c = v[(2 - round) & 7];
    __m256i e = v[(4 - round) & 7], f = v[(5 - round) & 7], g = v[(6 - round) & 7];
    __m256i *d = &v[(3 - round) & 7], *h = &v[(7 - round) & 7];
    __m256i k = _mm256_set1_epi32((int)bm_sha256_k[round]);
    __m256i choose = _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)));
    __m256i most = _mm256_xor_si256(b, _mm256_and_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(b, c)));
    __m256i t = _mm256_add_epi32(_mm256_add_epi32(*h, _mm256_add_epi32(w, k)), _mm256_add_epi32(x8_big1(e), choose));
    *d = _mm256_add_epi32(*d, t);
    *h = _mm256_add_epi32(t, _mm256_add_epi32(x8_big0(a), most));
}

X8 void x8_extend(__m256i *w, int i)
{
    __m256i sum = _mm256_add_epi32(w[i & 15], w[(i + 9) & 15]);
    sum = _mm256_add_epi32(sum, x8_small0(w[(i + 1) & 15]));
    w[i & 15] = _mm256_add_epi32(sum, x8_small1(w[(i + 14) & 15]));
}

X8 void x8_rounds(__m256i *v, __m256i *w)
{
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) x8_round(v, i, w[i]);
#pragma GCC unroll 48
    for (int i = 16; i < 64; i++) {
        x8_extend(w, i);
        x8_round(v, i, w[i & 15]);
    }
}

__attribute__((target("avx2"))) static void avx2_x8(void *const *state, const uint8_t *const *data, size_t blocks)
{
    __m256i v[8], working[8], w[16];
    x8_load_state(v, state, 8);
    for (size_t at = 0; at < blocks * 64; at += 64) {
        x8_load_words(w, data, at);
        x8_load_words(w + 8, data, at + 32);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) working[i] = v[i];
        x8_rounds(working, w);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) v[i] = _mm256_add_epi32(v[i], working[i]);
    }
    x8_store_state(v, state, 8);
}

__attribute__((target("bmi2"))) static void bmi2(void *const *state, const uint8_t *const *data, size_t blocks)
{
    sha256_scalar(state[0], data[0], blocks);
}

const bm_kernel bm_sha256_x86[] = {
    {"sha-ni x1", 1, BM_CPU_SHANI, ni1},  {"sha-ni x2", 2, BM_CPU_SHANI, ni2},
    {"sha-ni x3", 3, BM_CPU_SHANI, ni3},  {"sha-ni x4", 4, BM_CPU_SHANI, ni4},
    {"avx2 x8", 8, BM_CPU_AVX2, avx2_x8}, {"bmi2", 1, BM_CPU_BMI2, bmi2},
    {NULL, 0, 0, NULL},
};

#endif

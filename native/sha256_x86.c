/*
 * sha256_x86.c: SHA-256 on x86-64: the SHA extensions on 1 to 4 interleaved messages, and
 * general registers with BMI2 rotates.
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

__attribute__((target("bmi2"))) static void bmi2(void *const *state, const uint8_t *const *data, size_t blocks)
{
    sha256_scalar(state[0], data[0], blocks);
}

const bm_kernel bm_sha256_x86[] = {
    {"sha-ni x1", 1, BM_CPU_SHANI, ni1},  {"sha-ni x2", 2, BM_CPU_SHANI, ni2},
    {"sha-ni x3", 3, BM_CPU_SHANI, ni3},  {"sha-ni x4", 4, BM_CPU_SHANI, ni4},
    {"bmi2", 1, BM_CPU_BMI2, bmi2},
    {NULL, 0, 0, NULL},
};

#endif

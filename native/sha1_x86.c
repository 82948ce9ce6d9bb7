/*
 * sha1_x86.c: SHA-1 on x86-64: the SHA extensions on one or two messages, AVX2 on eight, and
 * general registers with BMI2.
 *
 * Purpose.    As in sha256_x86.c; eight messages in AVX2 registers outrun the SHA extensions here.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 *
 * Source of the instruction semantics: Intel SDM volume 2, SHA1RNDS4, SHA1NEXTE, SHA1MSG1, SHA1MSG2.
 */
#include "hash.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "sha1_scalar.h"

#define NI __attribute__((target("sha,sse4.1,ssse3")))
#define NI_INLINE static inline __attribute__((always_inline, target("sha,sse4.1,ssse3")))

/* `e` is in the highest word of its register; the others are zero. */
typedef struct { __m128i abcd, e; } ni_state;

NI_INLINE ni_state ni_load(const uint32_t *state)
{
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const void *)state), 0x1b);
    return (ni_state){abcd, _mm_set_epi32((int)state[4], 0, 0, 0)};
}

NI_INLINE void ni_store(uint32_t *state, ni_state s)
{
    _mm_storeu_si128((void *)state, _mm_shuffle_epi32(s.abcd, 0x1b));
    state[4] = (uint32_t)_mm_extract_epi32(s.e, 3);
}

NI_INLINE __m128i ni_words(const uint8_t *data)
{
    const __m128i swap = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    return _mm_shuffle_epi8(_mm_loadu_si128((const void *)data), swap);
}

/* The function number is an immediate operand, and follows the group: 0 to 3, five groups each. */
NI_INLINE __m128i ni_rounds(__m128i abcd, __m128i e, int group)
{
    switch (group / 5) {
    case 0: return _mm_sha1rnds4_epu32(abcd, e, 0);
    case 1: return _mm_sha1rnds4_epu32(abcd, e, 1);
    case 2: return _mm_sha1rnds4_epu32(abcd, e, 2);
    default: return _mm_sha1rnds4_epu32(abcd, e, 3);
    }
}

/* Rounds 4 * group to 4 * group + 3. `s->e` holds what sha1nexte takes e from: the a..d of the
 * group before. */
NI_INLINE void ni_group(ni_state *s, const __m128i *m, int group)
{
    __m128i words = m[group & 3];
    __m128i e = group == 0 ? _mm_add_epi32(s->e, words) : _mm_sha1nexte_epu32(s->e, words);
    s->e = s->abcd;
    s->abcd = ni_rounds(s->abcd, e, group);
}

NI_INLINE void ni_extend(__m128i *m, int group)
{
    __m128i sum = _mm_sha1msg1_epu32(m[group & 3], m[(group + 1) & 3]);
    sum = _mm_xor_si128(sum, m[(group + 2) & 3]);
    m[group & 3] = _mm_sha1msg2_epu32(sum, m[(group + 3) & 3]);
}

NI_INLINE void ni_block(ni_state *s, const uint8_t *const *data, size_t at, const int lanes)
{
    __m128i m[2][4];
    ni_state before[2];
#pragma GCC unroll 2
    for (int lane = 0; lane < lanes; lane++) {
        before[lane] = s[lane];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) m[lane][i] = ni_words(data[lane] + at + 16 * i);
    }
#pragma GCC unroll 20
    for (int group = 0; group < 20; group++) {
#pragma GCC unroll 2
        for (int lane = 0; lane < lanes; lane++) {
            ni_group(&s[lane], m[lane], group);
            if (group < 16) ni_extend(m[lane], group);
        }
    }
#pragma GCC unroll 2
    for (int lane = 0; lane < lanes; lane++) {
        s[lane].e = _mm_sha1nexte_epu32(s[lane].e, before[lane].e);
        s[lane].abcd = _mm_add_epi32(s[lane].abcd, before[lane].abcd);
    }
}

NI_INLINE void ni_run(void *const *state, const uint8_t *const *data, size_t blocks, const int lanes)
{
    ni_state s[2];
#pragma GCC unroll 2
    for (int lane = 0; lane < lanes; lane++) s[lane] = ni_load(state[lane]);
    for (size_t at = 0; at < blocks * 64; at += 64) ni_block(s, data, at, lanes);
#pragma GCC unroll 2
    for (int lane = 0; lane < lanes; lane++) ni_store(state[lane], s[lane]);
}

NI static void ni1(void *const *s, const uint8_t *const *d, size_t n) { ni_run(s, d, n, 1); }
NI static void ni2(void *const *s, const uint8_t *const *d, size_t n) { ni_run(s, d, n, 2); }

__attribute__((target("bmi2"))) static void bmi2(void *const *state, const uint8_t *const *data, size_t blocks)
{
    sha1_scalar(state[0], data[0], blocks);
}

const bm_kernel bm_sha1_x86[] = {
    {"sha-ni x1", 1, BM_CPU_SHANI, ni1},
    {"sha-ni x2", 2, BM_CPU_SHANI, ni2},
    {"bmi2", 1, BM_CPU_BMI2, bmi2},
    {NULL, 0, 0, NULL},
};

#endif

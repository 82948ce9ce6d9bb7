/*
 * sha512_x86.c: SHA-512 on x86-64: AVX2 on four messages, and general registers with BMI2 rotates.
 *
 * Purpose.    There is no SHA-512 instruction on most of these CPUs; four messages in the 64-bit
 *             words of AVX2 registers run about twice as fast as one on general registers.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 */
#include "hash.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "lanes_x86.h"
#include "sha512_scalar.h"

X_INLINE __m256i x4_xor3(__m256i x, __m256i y, __m256i z) { return _mm256_xor_si256(x, _mm256_xor_si256(y, z)); }
X_INLINE __m256i x4_big0(__m256i x) { return x4_xor3(X4_ROR(x, 28), X4_ROR(x, 34), X4_ROR(x, 39)); }
X_INLINE __m256i x4_big1(__m256i x) { return x4_xor3(X4_ROR(x, 14), X4_ROR(x, 18), X4_ROR(x, 41)); }
X_INLINE __m256i x4_small1(__m256i x) { return x4_xor3(X4_ROR(x, 19), X4_ROR(x, 61), _mm256_srli_epi64(x, 6)); }

/* A rotation by eight is one byte shuffle. */
X_INLINE __m256i x4_small0(__m256i x)
{
    const __m256i by8 = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x080f0e0d0c0b0a09, 0x0007060504030201));
    return x4_xor3(X4_ROR(x, 1), _mm256_shuffle_epi8(x, by8), _mm256_srli_epi64(x, 7));
}

/* `input` is a schedule word with its constant. */
X_INLINE void x4_round(__m256i *v, int round, __m256i input)
{
    __m256i a = v[-round & 7], b = v[(1 - round) & 7], c = v[(2 - round) & 7];
    __m256i e = v[(4 - round) & 7], f = v[(5 - round) & 7], g = v[(6 - round) & 7];
    __m256i *d = &v[(3 - round) & 7], *h = &v[(7 - round) & 7];
    __m256i choose = _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)));
    __m256i most = _mm256_xor_si256(b, _mm256_and_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(b, c)));
    __m256i t = _mm256_add_epi64(_mm256_add_epi64(_mm256_add_epi64(*h, input), choose), x4_big1(e));
    *d = _mm256_add_epi64(*d, t);
    *h = _mm256_add_epi64(t, _mm256_add_epi64(x4_big0(a), most));
}

X_INLINE __m256i x4_k(int i) { return _mm256_set1_epi64x((long long)bm_sha512_k[i]); }

X_INLINE __m256i x4_extended(const __m256i *w, int i)
{
    __m256i sum = _mm256_add_epi64(w[i & 15], w[(i + 9) & 15]);
    sum = _mm256_add_epi64(sum, x4_small0(w[(i + 1) & 15]));
    return _mm256_add_epi64(sum, x4_small1(w[(i + 14) & 15]));
}

/*
 * A round, and the schedule word of the round sixteen later: independent work beside the chain. Schedule
 * words go through memory on purpose (the barrier): eight state words and the temporaries of a round fill
 * the sixteen registers, and a compiler that keeps schedule words there as well spills both.
 */
X_INLINE void x4_step(__m256i *v, __m256i *w, __m256i *input, const uint64_t *k, int i)
{
    x4_round(v, i, input[i]);
    w[i] = x4_extended(w, i);
    input[i] = _mm256_add_epi64(w[i], _mm256_set1_epi64x((long long)k[16 + i]));
    __asm__ volatile("" ::"r"(w), "r"(input) : "memory");
}

X_INLINE void x4_rounds(__m256i *v, __m256i *w, __m256i *input)
{
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) input[i] = _mm256_add_epi64(w[i], x4_k(i));
    for (int first = 0; first < 64; first += 16)
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) x4_step(v, w, input, bm_sha512_k + first, i);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) x4_round(v, i, input[i]);
}

/* The rounds work on a copy that is only ever indexed by constants, so that it lives in registers. */
__attribute__((target("avx2"))) static void avx2_x4(void *const *state, const uint8_t *const *data, size_t blocks)
{
    __m256i v[8], working[8], w[16], input[16];
    x4_load_state(v, state);
    for (size_t at = 0; at < blocks * 128; at += 128) {
        for (size_t quarter = 0; quarter < 4; quarter++) x4_load_words(w + 4 * quarter, data, at + 32 * quarter);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) working[i] = v[i];
        x4_rounds(working, w, input);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) v[i] = _mm256_add_epi64(v[i], working[i]);
    }
    x4_store_state(v, state);
}

__attribute__((target("bmi,bmi2"))) static void bmi2(void *const *state, const uint8_t *const *data, size_t blocks)
{
    sha512_scalar(state[0], data[0], blocks);
}

const bm_kernel bm_sha512_x86[] = {
    {"avx2 x4", 4, BM_CPU_AVX2, avx2_x4},
    {"bmi2", 1, BM_CPU_BMI2, bmi2},
    {NULL, 0, 0, NULL},
};

#endif

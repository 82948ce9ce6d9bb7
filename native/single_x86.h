/*
 * single_x86.h: SHA-256, SHA-512 and SHA-1 of one message on an x86-64 CPU without BMI2. Included by single_sse2.c,
 * single_ssse3.c and single_avx.c, each of which says by O_ macros what its instructions are. No state of its own.
 *
 * O_SWAP32 and O_SWAP64 turn each word's bytes round; O_AFTER_ONE(x, y) is the four words after the first of x and
 * then y, O_AFTER_HALF the two halves after the first; O_EVEN_TO_LOW and O_EVEN_TO_HIGH move words 0 and 2 into that
 * half and clear the other.
 */
#ifndef BM_SINGLE_X86_H
#define BM_SINGLE_X86_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "hash.h"

#define O_INLINE static inline __attribute__((always_inline)) O_TARGET
#define O_XOR3(x, y, z) _mm_xor_si128(x, _mm_xor_si128(y, z))

#define BM_ROUNDS_WITHOUT_BMI2
#include "rounds_x86.h"

#ifndef O_WITHOUT_SHUFFLES
O_INLINE __m128i o_swap32(__m128i x)
{
    return _mm_shuffle_epi8(x, _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
}

O_INLINE __m128i o_swap64(__m128i x)
{
    return _mm_shuffle_epi8(x, _mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607));
}

O_INLINE __m128i o_ror64_8(__m128i x)
{
    return _mm_shuffle_epi8(x, _mm_set_epi64x(0x080f0e0d0c0b0a09, 0x0007060504030201));
}

O_INLINE __m128i o_even_to_low(__m128i x) { return _mm_shuffle_epi8(x, _mm_set_epi64x(-1, 0x0b0a090803020100)); }
O_INLINE __m128i o_even_to_high(__m128i x) { return _mm_shuffle_epi8(x, _mm_set_epi64x(0x0b0a090803020100, -1)); }

#define O_SWAP32(x) o_swap32(x)
#define O_SWAP64(x) o_swap64(x)
#define O_ROR64_8(x) o_ror64_8(x)
#define O_EVEN_TO_LOW(x) o_even_to_low(x)
#define O_EVEN_TO_HIGH(x) o_even_to_high(x)
#define O_AFTER_ONE(x, y) _mm_alignr_epi8(y, x, 4)
#define O_AFTER_HALF(x, y) _mm_alignr_epi8(y, x, 8)
#endif

#include "sha1_single.h"
#include "sha256_single.h"
#include "sha512_single.h"

#endif

/*
 * single_sse2.c: one message on any x86-64 CPU.
 *
 * Purpose.    As in single_x86.h; without byte shuffles, bytes are turned round by shifts of 16-bit words and
 *             shuffles of those, and two registers are joined by moving one word.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 */
#include "hash.h"

#if defined(__x86_64__)

#include <emmintrin.h>

#define O_TARGET
#define O_WITHOUT_SHUFFLES

static inline __attribute__((always_inline)) __m128i swap16(__m128i x)
{
    return _mm_or_si128(_mm_srli_epi16(x, 8), _mm_slli_epi16(x, 8));
}

#define O_SWAP32(x) _mm_shufflehi_epi16(_mm_shufflelo_epi16(swap16(x), 0xb1), 0xb1)
#define O_SWAP64(x) _mm_shufflehi_epi16(_mm_shufflelo_epi16(swap16(x), 0x1b), 0x1b)
#define O_ROR64_8(x) _mm_or_si128(_mm_srli_epi64(x, 8), _mm_slli_epi64(x, 56))
#define O_EVEN_TO_LOW(x) _mm_move_epi64(_mm_shuffle_epi32(x, 0x88))
#define O_EVEN_TO_HIGH(x) _mm_slli_si128(_mm_shuffle_epi32(x, 0x88), 8)
#define O_AFTER_ONE(x, y) \
    _mm_shuffle_epi32(_mm_castps_si128(_mm_move_ss(_mm_castsi128_ps(x), _mm_castsi128_ps(y))), 0x39)
#define O_AFTER_HALF(x, y) _mm_castpd_si128(_mm_shuffle_pd(_mm_castsi128_pd(x), _mm_castsi128_pd(y), 1))
#include "single_x86.h"

const bm_kernel bm_sha256_sse2[] = {{"sse2 schedule", 1, 0, sha256_single}, {NULL, 0, 0, NULL}};
const bm_kernel bm_sha512_sse2[] = {{"sse2 schedule", 1, 0, sha512_single}, {NULL, 0, 0, NULL}};
const bm_kernel bm_sha1_sse2[] = {{"sse2 schedule", 1, 0, sha1_single}, {NULL, 0, 0, NULL}};

#endif

/*
 * lanes_avx2.c: eight messages of SHA-256 and SHA-1, four of SHA-512, in AVX2 registers.
 *
 * Purpose.    There is no SHA-512 instruction on most of these CPUs, and many have none for SHA-1 and SHA-256
 *             either; a message in each word of a vector runs about twice as fast as one on general registers.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 */
#include "hash.h"

#if defined(__x86_64__)

#define V_FEATURES "avx2"
#define V_ROR32(x, n) X8_ROR(x, n)
#define V_ROR64(x, n) X4_ROR(x, n)
#define V_ROR64_8(x) x4_ror8(x)
#define V_ROL32_1(x) _mm256_or_si256(_mm256_add_epi32(x, x), _mm256_srli_epi32(x, 31))
#define V_XOR3(x, y, z) X8_XOR3(x, y, z)
#define V_CHOOSE(x, y, z) _mm256_xor_si256(z, _mm256_and_si256(x, _mm256_xor_si256(y, z)))
#define V_MOST(x, y, z) \
    _mm256_xor_si256(y, _mm256_and_si256(_mm256_xor_si256(x, y), _mm256_xor_si256(y, z)))
#define V_KEEP_IN_MEMORY(w) __asm__ volatile("" ::"r"(w) : "memory")

#include "lanes_ymm.h"

YMM_KERNELS(avx2, BM_CPU_AVX2);

#endif

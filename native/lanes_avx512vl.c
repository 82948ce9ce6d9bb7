/*
 * lanes_avx512vl.c: as many messages as AVX2 has room for, with the instructions of AVX-512.
 *
 * Purpose.    One rotation is one instruction, and so is any function of three operands; for as few messages
 *             as these, half-width registers are faster: three such instructions start in a cycle, of the others two.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 */
#include "hash.h"

#if defined(__x86_64__)

#define V_FEATURES "avx2,avx512f,avx512vl,avx512bw"
#define V_ROR32(x, n) _mm256_ror_epi32(x, n)
#define V_ROR64(x, n) _mm256_ror_epi64(x, n)
#define V_ROR64_8(x) V_ROR64(x, 8)
#define V_ROL32_1(x) _mm256_rol_epi32(x, 1)
#define V_XOR3(x, y, z) _mm256_ternarylogic_epi64(x, y, z, 0x96)
#define V_CHOOSE(x, y, z) _mm256_ternarylogic_epi64(x, y, z, 0xca)
#define V_MOST(x, y, z) _mm256_ternarylogic_epi64(x, y, z, 0xe8)
#define V_KEEP_IN_MEMORY(w) (void)(w)

#include "lanes_ymm.h"

YMM_KERNELS(avx512vl, BM_CPU_AVX512);

#endif

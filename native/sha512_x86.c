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

#include "sha512_scalar.h"

__attribute__((target("bmi,bmi2"))) static void bmi2(void *const *state, const uint8_t *const *data, size_t blocks)
{
    sha512_scalar(state[0], data[0], blocks);
}

const bm_kernel bm_sha512_x86[] = {
    {"bmi2", 1, BM_CPU_BMI2, bmi2},
    {NULL, 0, 0, NULL},
};

#endif

/*
 * arm.h: how the compilers spell "this function may use the instructions of FEAT_…", and the wrappers
 * that make kernels for 1 to 4 messages out of one that takes the number as a constant.
 */
#ifndef BM_ARM_H
#define BM_ARM_H

/* Before version 16, clang's header hides intrinsics that the command line has not enabled. */
#if defined(__clang__) && __clang_major__ < 16
#ifndef __ARM_FEATURE_SHA2
#define __ARM_FEATURE_SHA2 1
#endif
#ifndef __ARM_FEATURE_SHA512
#define __ARM_FEATURE_SHA512 1
#endif
#endif

#include <arm_neon.h>

#if defined(__clang__)
#define ARM_SHA2 __attribute__((target("sha2")))
#define ARM_SHA512 __attribute__((target("sha3")))
#define ARM_SHA2_INLINE static inline __attribute__((always_inline, target("sha2")))
#define ARM_SHA512_INLINE static inline __attribute__((always_inline, target("sha3")))
#else
#define ARM_SHA2 __attribute__((target("+crypto")))
#define ARM_SHA512 __attribute__((target("arch=armv8.2-a+sha3")))
#define ARM_SHA2_INLINE static inline __attribute__((always_inline, target("+crypto")))
#define ARM_SHA512_INLINE static inline __attribute__((always_inline, target("arch=armv8.2-a+sha3")))
#endif

#define ARM_KERNELS(target, run)                                                                   \
    target static void ce1(void *const *s, const uint8_t *const *d, size_t n) { run(s, d, n, 1); } \
    target static void ce2(void *const *s, const uint8_t *const *d, size_t n) { run(s, d, n, 2); } \
    target static void ce3(void *const *s, const uint8_t *const *d, size_t n) { run(s, d, n, 3); } \
    target static void ce4(void *const *s, const uint8_t *const *d, size_t n) { run(s, d, n, 4); }

#define ARM_KERNEL_LIST(cpu)                                                                       \
    {                                                                                              \
        {"armv8 x1", 1, cpu, ce1}, {"armv8 x2", 2, cpu, ce2}, {"armv8 x3", 3, cpu, ce3},           \
            {"armv8 x4", 4, cpu, ce4}, {NULL, 0, 0, NULL},                                         \
    }

#endif

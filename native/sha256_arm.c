/*
 * sha256_arm.c: SHA-256 with the Armv8 cryptographic extension (FEAT_SHA256), 1 to 4 messages.
 *
 * Purpose.    SHA256H and SHA256H2 form one chain in a message; further messages fill its gaps.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 *
 * Source of the instruction semantics: Arm Architecture Reference Manual for A-profile, C7.2.
 */
#include "hash.h"

#if defined(BM_ARM)

#include "arm.h"

typedef struct { uint32x4_t abcd, efgh; } ce_state;

ARM_SHA2_INLINE void ce_group(ce_state *s, const uint32x4_t *m, int group)
{
    uint32x4_t input = vaddq_u32(m[group & 3], vld1q_u32(bm_sha256_k + 4 * group));
    uint32x4_t before = s->abcd;
    s->abcd = vsha256hq_u32(s->abcd, s->efgh, input);
    s->efgh = vsha256h2q_u32(s->efgh, before, input);
}

ARM_SHA2_INLINE void ce_extend(uint32x4_t *m, int group)
{
    uint32x4_t sum = vsha256su0q_u32(m[group & 3], m[(group + 1) & 3]);
    m[group & 3] = vsha256su1q_u32(sum, m[(group + 2) & 3], m[(group + 3) & 3]);
}

ARM_SHA2_INLINE void ce_block(ce_state *s, const uint8_t *const *data, size_t at, const int lanes)
{
    uint32x4_t m[4][4];
    ce_state before[4];
#pragma GCC unroll 4
    for (int lane = 0; lane < lanes; lane++) {
        before[lane] = s[lane];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) m[lane][i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data[lane] + at + 16 * i)));
    }
#pragma GCC unroll 16
    for (int group = 0; group < 16; group++) {
#pragma GCC unroll 4
        for (int lane = 0; lane < lanes; lane++) {
            ce_group(&s[lane], m[lane], group);
            if (group < 12) ce_extend(m[lane], group);
        }
    }
#pragma GCC unroll 4
    for (int lane = 0; lane < lanes; lane++) {
        s[lane].abcd = vaddq_u32(s[lane].abcd, before[lane].abcd);
        s[lane].efgh = vaddq_u32(s[lane].efgh, before[lane].efgh);
    }
}

ARM_SHA2_INLINE void ce_run(void *const *state, const uint8_t *const *data, size_t blocks, const int lanes)
{
    ce_state s[4];
    for (int lane = 0; lane < lanes; lane++) {
        const uint32_t *from = state[lane];
        s[lane] = (ce_state){vld1q_u32(from), vld1q_u32(from + 4)};
    }
    for (size_t at = 0; at < blocks * 64; at += 64) ce_block(s, data, at, lanes);
    for (int lane = 0; lane < lanes; lane++) {
        uint32_t *to = state[lane];
        vst1q_u32(to, s[lane].abcd);
        vst1q_u32(to + 4, s[lane].efgh);
    }
}

ARM_KERNELS(ARM_SHA2, ce_run)

const bm_kernel bm_sha256_arm[] = ARM_KERNEL_LIST(BM_CPU_ARM_SHA2);

#endif

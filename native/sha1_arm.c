/*
 * sha1_arm.c: SHA-1 with the Armv8 cryptographic extension (FEAT_SHA1), 1 to 4 messages.
 *
 * Purpose.    As in sha256_arm.c.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 *
 * Source of the instruction semantics: Arm Architecture Reference Manual for A-profile, C7.2.
 */
#include "hash.h"

#if defined(BM_ARM)

#include "arm.h"

typedef struct { uint32x4_t abcd; uint32_t e; } ce_state;

/* Choose, parity, majority, parity: five groups of four rounds each. */
ARM_SHA2_INLINE uint32x4_t ce_rounds(uint32x4_t abcd, uint32_t e, uint32x4_t input, int group)
{
    if (group < 5) return vsha1cq_u32(abcd, e, input);
    if (group >= 10 && group < 15) return vsha1mq_u32(abcd, e, input);
    return vsha1pq_u32(abcd, e, input);
}

ARM_SHA2_INLINE void ce_group(ce_state *s, const uint32x4_t *m, int group)
{
    static const uint32_t constants[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    uint32x4_t input = vaddq_u32(m[group & 3], vdupq_n_u32(constants[group / 5]));
    uint32_t next = vsha1h_u32(vgetq_lane_u32(s->abcd, 0));
    s->abcd = ce_rounds(s->abcd, s->e, input, group);
    s->e = next;
}

ARM_SHA2_INLINE void ce_extend(uint32x4_t *m, int group)
{
    uint32x4_t sum = vsha1su0q_u32(m[group & 3], m[(group + 1) & 3], m[(group + 2) & 3]);
    m[group & 3] = vsha1su1q_u32(sum, m[(group + 3) & 3]);
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
#pragma GCC unroll 20
    for (int group = 0; group < 20; group++) {
#pragma GCC unroll 4
        for (int lane = 0; lane < lanes; lane++) {
            ce_group(&s[lane], m[lane], group);
            if (group < 16) ce_extend(m[lane], group);
        }
    }
#pragma GCC unroll 4
    for (int lane = 0; lane < lanes; lane++) {
        s[lane].abcd = vaddq_u32(s[lane].abcd, before[lane].abcd);
        s[lane].e += before[lane].e;
    }
}

ARM_SHA2_INLINE void ce_run(void *const *state, const uint8_t *const *data, size_t blocks, const int lanes)
{
    ce_state s[4];
    for (int lane = 0; lane < lanes; lane++) {
        const uint32_t *from = state[lane];
        s[lane] = (ce_state){vld1q_u32(from), from[4]};
    }
    for (size_t at = 0; at < blocks * 64; at += 64) ce_block(s, data, at, lanes);
    for (int lane = 0; lane < lanes; lane++) {
        uint32_t *to = state[lane];
        vst1q_u32(to, s[lane].abcd);
        to[4] = s[lane].e;
    }
}

ARM_KERNELS(ARM_SHA2, ce_run)

const bm_kernel bm_sha1_arm[] = ARM_KERNEL_LIST(BM_CPU_ARM_SHA1);

#endif

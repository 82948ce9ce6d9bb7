/*
 * sha512_arm.c: SHA-512 with the instructions of Armv8.2 (FEAT_SHA512), 1 to 4 messages.
 *
 * Purpose.    As in sha256_arm.c; two rounds at a time.
 * Ownership.  None: works on the caller's states and data.
 * Threads.    No state of its own.
 *
 * Source of the instruction semantics: Arm Architecture Reference Manual for A-profile, C7.2.
 */
#include "hash.h"

#if defined(BM_ARM)

#include "arm.h"

/* v holds ab, cd, ef, gh; their places walk down by one with every pair of rounds. */
typedef struct { uint64x2_t v[4]; } ce_state;

ARM_SHA512_INLINE void ce_pair(ce_state *s, const uint64x2_t *m, int pair)
{
    uint64x2_t ab = s->v[-pair & 3], *cd = &s->v[(1 - pair) & 3], ef = s->v[(2 - pair) & 3];
    uint64x2_t *gh = &s->v[(3 - pair) & 3];
    uint64x2_t input = vaddq_u64(m[pair & 7], vld1q_u64(bm_sha512_k + 2 * pair));
    uint64x2_t sum = vaddq_u64(vextq_u64(input, input, 1), *gh);
    uint64x2_t middle = vsha512hq_u64(sum, vextq_u64(ef, *gh, 1), vextq_u64(*cd, ef, 1));
    *gh = vsha512h2q_u64(middle, *cd, ab);
    *cd = vaddq_u64(*cd, middle);
}

ARM_SHA512_INLINE void ce_extend(uint64x2_t *m, int pair)
{
    uint64x2_t sum = vsha512su0q_u64(m[pair & 7], m[(pair + 1) & 7]);
    uint64x2_t seventh = vextq_u64(m[(pair + 4) & 7], m[(pair + 5) & 7], 1);
    m[pair & 7] = vsha512su1q_u64(sum, m[(pair + 7) & 7], seventh);
}

ARM_SHA512_INLINE void ce_block(ce_state *s, const uint8_t *const *data, size_t at, const int lanes)
{
    uint64x2_t m[4][8];
    ce_state before[4];
#pragma GCC unroll 4
    for (int lane = 0; lane < lanes; lane++) {
        before[lane] = s[lane];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) m[lane][i] = vreinterpretq_u64_u8(vrev64q_u8(vld1q_u8(data[lane] + at + 16 * i)));
    }
#pragma GCC unroll 40
    for (int pair = 0; pair < 40; pair++) {
#pragma GCC unroll 4
        for (int lane = 0; lane < lanes; lane++) {
            ce_pair(&s[lane], m[lane], pair);
            if (pair < 32) ce_extend(m[lane], pair);
        }
    }
#pragma GCC unroll 4
    for (int lane = 0; lane < lanes; lane++)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) s[lane].v[i] = vaddq_u64(s[lane].v[i], before[lane].v[i]);
}

ARM_SHA512_INLINE void ce_run(void *const *state, const uint8_t *const *data, size_t blocks, const int lanes)
{
    ce_state s[4];
    for (int lane = 0; lane < lanes; lane++)
        for (int i = 0; i < 4; i++) s[lane].v[i] = vld1q_u64((const uint64_t *)state[lane] + 2 * i);
    for (size_t at = 0; at < blocks * 128; at += 128) ce_block(s, data, at, lanes);
    for (int lane = 0; lane < lanes; lane++)
        for (int i = 0; i < 4; i++) vst1q_u64((uint64_t *)state[lane] + 2 * i, s[lane].v[i]);
}

ARM_KERNELS(ARM_SHA512, ce_run)

const bm_kernel bm_sha512_arm[] = ARM_KERNEL_LIST(BM_CPU_ARM_SHA512);

#endif

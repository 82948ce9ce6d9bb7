/*
 * sha256_scalar.h: the rounds of SHA-256 on general registers, to be instantiated once in plain C
 * and once for a CPU with three-operand rotates. One message at a time; no state of its own.
 *
 * The message schedule is a ring of sixteen words, extended one word ahead of its use.
 */
#ifndef BM_SHA256_SCALAR_H
#define BM_SHA256_SCALAR_H

#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "hash.h"

#define S256_BIG0(x) (ror32(x, 2) ^ ror32(x, 13) ^ ror32(x, 22))
#define S256_BIG1(x) (ror32(x, 6) ^ ror32(x, 11) ^ ror32(x, 25))
#define S256_SMALL0(x) (ror32(x, 7) ^ ror32(x, 18) ^ ((x) >> 3))
#define S256_SMALL1(x) (ror32(x, 17) ^ ror32(x, 19) ^ ((x) >> 10))

/* One round; `ab` carries a ^ b from round to round, which saves an operation of Maj. */
#define S256_ROUND(a, b, c, d, e, f, g, h, input)                                                  \
    do {                                                                                           \
        uint32_t ab_ = (a) ^ (b), big1_ = S256_BIG1(e), big0_ = S256_BIG0(a);                      \
        (h) += (input);                                                                            \
        BM_IN_ORDER(h);                                                                            \
        (h) += (((f) ^ (g)) & (e)) ^ (g);                                                          \
        BM_IN_ORDER(h);                                                                            \
        BM_IN_ORDER(big1_);                                                                        \
        (h) += big1_;                                                                              \
        BM_IN_ORDER(h);                                                                            \
        (d) += (h);                                                                                \
        (h) += (ab_ & bc) ^ (b);                                                                   \
        BM_IN_ORDER(h);                                                                            \
        (h) += big0_;                                                                              \
        bc = ab_;                                                                                  \
    } while (0)

#define S256_EIGHT(input, i)                                                                       \
    S256_ROUND(a, b, c, d, e, f, g, h, input(i + 0));                                              \
    S256_ROUND(h, a, b, c, d, e, f, g, input(i + 1));                                              \
    S256_ROUND(g, h, a, b, c, d, e, f, input(i + 2));                                              \
    S256_ROUND(f, g, h, a, b, c, d, e, input(i + 3));                                              \
    S256_ROUND(e, f, g, h, a, b, c, d, input(i + 4));                                              \
    S256_ROUND(d, e, f, g, h, a, b, c, input(i + 5));                                              \
    S256_ROUND(c, d, e, f, g, h, a, b, input(i + 6));                                              \
    S256_ROUND(b, c, d, e, f, g, h, a, input(i + 7))

#define S256_LOAD(i) ((w[i] = load_be32(data + 4 * (i))) + k[i])
#define S256_EXTEND(i)                                                                             \
    ((w[(i) & 15] += S256_SMALL0(w[((i) + 1) & 15]) + w[((i) + 9) & 15] +                          \
                     S256_SMALL1(w[((i) + 14) & 15])) + k[i])

static inline __attribute__((always_inline)) void sha256_scalar(uint32_t *state, const uint8_t *data,
                                                                size_t blocks)
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (; blocks; blocks--, data += 64) {
        const uint32_t *k = bm_sha256_k;
        uint32_t w[16], bc = b ^ c;
        S256_EIGHT(S256_LOAD, 0);
        S256_EIGHT(S256_LOAD, 8);
        for (int round = 16; round < 64; round += 16) {
            k += 16;
            S256_EIGHT(S256_EXTEND, 0);
            S256_EIGHT(S256_EXTEND, 8);
        }
        a = state[0] += a, b = state[1] += b, c = state[2] += c, d = state[3] += d;
        e = state[4] += e, f = state[5] += f, g = state[6] += g, h = state[7] += h;
    }
}

#endif

/*
 * sha512_scalar.h: the rounds of SHA-512 on general registers, to be instantiated once in plain C
 * and once for a CPU with three-operand rotates. One message at a time; no state of its own.
 *
 * The message schedule is a ring of sixteen words, extended one word ahead of its use.
 */
#ifndef BM_SHA512_SCALAR_H
#define BM_SHA512_SCALAR_H

#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "hash.h"

#define S512_BIG0(x) (ror64(x, 28) ^ ror64(x, 34) ^ ror64(x, 39))
#define S512_BIG1(x) (ror64(x, 14) ^ ror64(x, 18) ^ ror64(x, 41))
#define S512_SMALL0(x) (ror64(x, 1) ^ ror64(x, 8) ^ ((x) >> 7))
#define S512_SMALL1(x) (ror64(x, 19) ^ ror64(x, 61) ^ ((x) >> 6))

/* One round; `ab` carries a ^ b from round to round, which saves an operation of Maj. */
#define S512_ROUND(a, b, c, d, e, f, g, h, input)                                                  \
    do {                                                                                           \
        uint64_t ab_ = (a) ^ (b), big1_ = S512_BIG1(e), big0_ = S512_BIG0(a);                      \
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

#define S512_EIGHT(input, i)                                                                       \
    S512_ROUND(a, b, c, d, e, f, g, h, input(i + 0));                                              \
    S512_ROUND(h, a, b, c, d, e, f, g, input(i + 1));                                              \
    S512_ROUND(g, h, a, b, c, d, e, f, input(i + 2));                                              \
    S512_ROUND(f, g, h, a, b, c, d, e, input(i + 3));                                              \
    S512_ROUND(e, f, g, h, a, b, c, d, input(i + 4));                                              \
    S512_ROUND(d, e, f, g, h, a, b, c, input(i + 5));                                              \
    S512_ROUND(c, d, e, f, g, h, a, b, input(i + 6));                                              \
    S512_ROUND(b, c, d, e, f, g, h, a, input(i + 7))

#define S512_LOAD(i) ((w[i] = load_be64(data + 8 * (i))) + k[i])
#define S512_EXTEND(i)                                                                             \
    ((w[(i) & 15] += S512_SMALL0(w[((i) + 1) & 15]) + w[((i) + 9) & 15] +                          \
                     S512_SMALL1(w[((i) + 14) & 15])) + k[i])

static inline __attribute__((always_inline)) void sha512_scalar(uint64_t *state, const uint8_t *data,
                                                                size_t blocks)
{
    uint64_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint64_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (; blocks; blocks--, data += 128) {
        const uint64_t *k = bm_sha512_k;
        uint64_t w[16], bc = b ^ c;
        S512_EIGHT(S512_LOAD, 0);
        S512_EIGHT(S512_LOAD, 8);
        for (int round = 16; round < 80; round += 16) {
            k += 16;
            S512_EIGHT(S512_EXTEND, 0);
            S512_EIGHT(S512_EXTEND, 8);
        }
        a = state[0] += a, b = state[1] += b, c = state[2] += c, d = state[3] += d;
        e = state[4] += e, f = state[5] += f, g = state[6] += g, h = state[7] += h;
    }
}

#endif

/*
 * sha1_scalar.h: the rounds of SHA-1 on general registers, to be instantiated once in plain C and
 * once for a CPU with three-operand logic. One message at a time; no state of its own.
 */
#ifndef BM_SHA1_SCALAR_H
#define BM_SHA1_SCALAR_H

#include <stddef.h>
#include <stdint.h>

#include "bytes.h"

#define S1_CH(b, c, d) ((((c) ^ (d)) & (b)) ^ (d))
#define S1_PARITY(b, c, d) ((b) ^ (c) ^ (d))
#define S1_MAJ(b, c, d) (((b) & (c)) + (((b) ^ (c)) & (d)))

#define S1_LOAD(i) (w[i] = load_be32(data + 4 * (i)))
#define S1_EXTEND(i)                                                                               \
    (w[(i) & 15] = rol32(w[((i) + 13) & 15] ^ w[((i) + 8) & 15] ^ w[((i) + 2) & 15] ^ w[(i) & 15], 1))

#define S1_ROUND(a, b, c, d, e, mix, k, input)                                                     \
    do {                                                                                           \
        (e) += (input) + (k) + rol32(a, 5) + mix(b, c, d);                                         \
        (b) = rol32(b, 30);                                                                        \
    } while (0)

#define S1_FIVE(mix, k, input, i)                                                                  \
    S1_ROUND(a, b, c, d, e, mix, k, input((i) + 0));                                               \
    S1_ROUND(e, a, b, c, d, mix, k, input((i) + 1));                                               \
    S1_ROUND(d, e, a, b, c, mix, k, input((i) + 2));                                               \
    S1_ROUND(c, d, e, a, b, mix, k, input((i) + 3));                                               \
    S1_ROUND(b, c, d, e, a, mix, k, input((i) + 4))

#define S1_TWENTY(mix, k, i)                                                                       \
    S1_FIVE(mix, k, S1_EXTEND, i);                                                                 \
    S1_FIVE(mix, k, S1_EXTEND, (i) + 5);                                                           \
    S1_FIVE(mix, k, S1_EXTEND, (i) + 10);                                                          \
    S1_FIVE(mix, k, S1_EXTEND, (i) + 15)

#define S1_FIRST(mix, k)                                                                           \
    S1_FIVE(mix, k, S1_LOAD, 0);                                                                   \
    S1_FIVE(mix, k, S1_LOAD, 5);                                                                   \
    S1_FIVE(mix, k, S1_LOAD, 10);                                                                  \
    S1_ROUND(a, b, c, d, e, mix, k, S1_LOAD(15));                                                  \
    S1_ROUND(e, a, b, c, d, mix, k, S1_EXTEND(16));                                                \
    S1_ROUND(d, e, a, b, c, mix, k, S1_EXTEND(17));                                                \
    S1_ROUND(c, d, e, a, b, mix, k, S1_EXTEND(18));                                                \
    S1_ROUND(b, c, d, e, a, mix, k, S1_EXTEND(19))

static inline __attribute__((always_inline)) void sha1_scalar(uint32_t *state, const uint8_t *data,
                                                              size_t blocks)
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (; blocks; blocks--, data += 64) {
        uint32_t w[16];
        S1_FIRST(S1_CH, 0x5a827999);
        S1_TWENTY(S1_PARITY, 0x6ed9eba1, 20);
        S1_TWENTY(S1_MAJ, 0x8f1bbcdc, 40);
        S1_TWENTY(S1_PARITY, 0xca62c1d6, 60);
        a = state[0] += a, b = state[1] += b, c = state[2] += c, d = state[3] += d;
        e = state[4] += e;
    }
}

#endif

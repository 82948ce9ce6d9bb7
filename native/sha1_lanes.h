/*
 * sha1_lanes.h: the rounds of SHA-1 on a message in each word of a vector; see sha256_lanes.h.
 */
#ifndef BM_SHA1_LANES_H
#define BM_SHA1_LANES_H

#include "hash.h"

V_INLINE V l1_mix(int round, V b, V c, V d)
{
    return round < 20 ? V_CHOOSE(b, c, d) : round / 20 == 2 ? V_MOST(b, c, d) : V_XOR3(b, c, d);
}

V_INLINE void l1_round(V *v, int round, V w)
{
    static const uint32_t constants[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    /* the place of a in v walks down by one each round; 100 keeps the index positive */
    V a = v[(100 - round) % 5], *b = &v[(101 - round) % 5], c = v[(102 - round) % 5];
    V d = v[(103 - round) % 5], *e = &v[(104 - round) % 5];
    V sum = V_ADD32(V_ADD32(*e, V_ADD32(w, V_SET32(constants[round / 20]))), l1_mix(round, *b, c, d));
    *e = V_ADD32(sum, V_ROR32(a, 27));
    *b = V_ROR32(*b, 2);
}

V_INLINE void l1_extend(V *w, int i)
{
    V x = V_XOR(V_XOR3(w[(i + 13) & 15], w[(i + 8) & 15], w[(i + 2) & 15]), w[i & 15]);
    w[i & 15] = V_ROL32_1(x);
}

V_INLINE void l1_rounds(V *v, V *w)
{
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) l1_round(v, i, w[i]);
#pragma GCC unroll 64
    for (int i = 16; i < 80; i++) {
        l1_extend(w, i);
        l1_round(v, i, w[i & 15]);
        V_KEEP_IN_MEMORY(w);
    }
}

V_INLINE void l1_run(void *const *state, const uint8_t *const *data, size_t blocks)
{
    V v[5], working[5], w[16];
    V_LOAD_STATE32(v, state, 5);
    for (size_t at = 0; at < blocks * 64; at += 64) {
        V_LOAD_WORDS32(w, data, at);
#pragma GCC unroll 5
        for (int i = 0; i < 5; i++) working[i] = v[i];
        l1_rounds(working, w);
#pragma GCC unroll 5
        for (int i = 0; i < 5; i++) v[i] = V_ADD32(v[i], working[i]);
    }
    V_STORE_STATE32(v, state, 5);
}

#endif

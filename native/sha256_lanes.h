/*
 * sha256_lanes.h: the rounds of SHA-256 on a message in each word of a vector, to be instantiated for each
 * kind of vector by the file that defines the V_ operations. No state of its own.
 */
#ifndef BM_SHA256_LANES_H
#define BM_SHA256_LANES_H

#include "hash.h"

V_INLINE V l256_big0(V x) { return V_XOR3(V_ROR32(x, 2), V_ROR32(x, 13), V_ROR32(x, 22)); }
V_INLINE V l256_big1(V x) { return V_XOR3(V_ROR32(x, 6), V_ROR32(x, 11), V_ROR32(x, 25)); }
V_INLINE V l256_small0(V x) { return V_XOR3(V_ROR32(x, 7), V_ROR32(x, 18), V_SHR32(x, 3)); }
V_INLINE V l256_small1(V x) { return V_XOR3(V_ROR32(x, 17), V_ROR32(x, 19), V_SHR32(x, 10)); }

V_INLINE void l256_round(V *v, int round, V w)
{
    V a = v[-round & 7], b = v[(1 - round) & 7], c = v[(2 - round) & 7];
    V e = v[(4 - round) & 7], f = v[(5 - round) & 7], g = v[(6 - round) & 7];
    V *d = &v[(3 - round) & 7], *h = &v[(7 - round) & 7];
    V t = V_ADD32(V_ADD32(*h, V_ADD32(w, V_SET32(bm_sha256_k[round]))), V_ADD32(l256_big1(e), V_CHOOSE(e, f, g)));
    *d = V_ADD32(*d, t);
    *h = V_ADD32(t, V_ADD32(l256_big0(a), V_MOST(a, b, c)));
}

V_INLINE void l256_extend(V *w, int i)
{
    V sum = V_ADD32(w[i & 15], w[(i + 9) & 15]);
    sum = V_ADD32(sum, l256_small0(w[(i + 1) & 15]));
    w[i & 15] = V_ADD32(sum, l256_small1(w[(i + 14) & 15]));
}

V_INLINE void l256_rounds(V *v, V *w)
{
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) l256_round(v, i, w[i]);
#pragma GCC unroll 48
    for (int i = 16; i < 64; i++) {
        l256_extend(w, i);
        l256_round(v, i, w[i & 15]);
    }
}

/* The rounds work on a copy that is only ever indexed by constants, so that it lives in registers. */
V_INLINE void l256_run(void *const *state, const uint8_t *const *data, size_t blocks)
{
    V v[8], working[8], w[16];
    V_LOAD_STATE32(v, state, 8);
    for (size_t at = 0; at < blocks * 64; at += 64) {
        V_LOAD_WORDS32(w, data, at);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) working[i] = v[i];
        l256_rounds(working, w);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) v[i] = V_ADD32(v[i], working[i]);
    }
    V_STORE_STATE32(v, state, 8);
}

#endif

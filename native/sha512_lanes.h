/*
 * sha512_lanes.h: the rounds of SHA-512 on a message in each word of a vector; see sha256_lanes.h.
 */
#ifndef BM_SHA512_LANES_H
#define BM_SHA512_LANES_H

#include "hash.h"

V_INLINE V l512_big0(V x) { return V_XOR3(V_ROR64(x, 28), V_ROR64(x, 34), V_ROR64(x, 39)); }
V_INLINE V l512_big1(V x) { return V_XOR3(V_ROR64(x, 14), V_ROR64(x, 18), V_ROR64(x, 41)); }
V_INLINE V l512_small0(V x) { return V_XOR3(V_ROR64(x, 1), V_ROR64_8(x), V_SHR64(x, 7)); }
V_INLINE V l512_small1(V x) { return V_XOR3(V_ROR64(x, 19), V_ROR64(x, 61), V_SHR64(x, 6)); }

/* `input` is a schedule word with its constant. */
V_INLINE void l512_round(V *v, int round, V input)
{
    V a = v[-round & 7], b = v[(1 - round) & 7], c = v[(2 - round) & 7];
    V e = v[(4 - round) & 7], f = v[(5 - round) & 7], g = v[(6 - round) & 7];
    V *d = &v[(3 - round) & 7], *h = &v[(7 - round) & 7];
    V t = V_ADD64(V_ADD64(V_ADD64(*h, input), V_CHOOSE(e, f, g)), l512_big1(e));
    *d = V_ADD64(*d, t);
    *h = V_ADD64(t, V_ADD64(l512_big0(a), V_MOST(a, b, c)));
}

V_INLINE V l512_extended(const V *w, int i)
{
    V sum = V_ADD64(w[i & 15], w[(i + 9) & 15]);
    sum = V_ADD64(sum, l512_small0(w[(i + 1) & 15]));
    return V_ADD64(sum, l512_small1(w[(i + 14) & 15]));
}

/*
 * A round, and the schedule word of the round sixteen later: independent work beside the chain. Where the
 * barrier is not empty, schedule words go through memory on purpose: eight state words and the temporaries
 * of a round fill sixteen registers, and a compiler that keeps schedule words there as well spills both.
 */
V_INLINE void l512_step(V *v, V *w, V *input, const uint64_t *k, int i)
{
    l512_round(v, i, input[i]);
    w[i] = l512_extended(w, i);
    input[i] = V_ADD64(w[i], V_SET64(k[16 + i]));
    V_KEEP_IN_MEMORY(w);
    V_KEEP_IN_MEMORY(input);
}

V_INLINE void l512_rounds(V *v, V *w, V *input)
{
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) input[i] = V_ADD64(w[i], V_SET64(bm_sha512_k[i]));
    for (int first = 0; first < 64; first += 16)
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) l512_step(v, w, input, bm_sha512_k + first, i);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) l512_round(v, i, input[i]);
}

V_INLINE void l512_run(void *const *state, const uint8_t *const *data, size_t blocks)
{
    V v[8], working[8], w[16], input[16];
    V_LOAD_STATE64(v, state);
    for (size_t at = 0; at < blocks * 128; at += 128) {
        V_LOAD_WORDS64(w, data, at);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) working[i] = v[i];
        l512_rounds(working, w, input);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) v[i] = V_ADD64(v[i], working[i]);
    }
    V_STORE_STATE64(v, state);
}

#endif

/*
 * selftest.c: known answers, asked when the module loads.
 *
 * Purpose.    A digest decides what is shipped; a miscompiled or mis-emulated kernel must be found
 *             before the first one is computed. The portable kernels are held to the vectors of
 *             FIPS 180-4's examples, every other usable kernel to the portable ones, with different
 *             data in every lane.
 * Ownership.  None.
 * Threads.    Any.
 */
#include <string.h>

#include "hash.h"

#define TEST_BLOCKS 3

typedef struct {
    const bm_hash *hash;
    uint8_t abc[64];
} known_answer;

/* The digests of "abc". */
static const known_answer answers[BM_HASHES] = {
    {&bm_hash_sha256, {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                       0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad}},
    {&bm_hash_sha512, {0xdd, 0xaf, 0x35, 0xa1, 0x93, 0x61, 0x7a, 0xba, 0xcc, 0x41, 0x73, 0x49, 0xae, 0x20, 0x41, 0x31,
                       0x12, 0xe6, 0xfa, 0x4e, 0x89, 0xa9, 0x7e, 0xa2, 0x0a, 0x9e, 0xee, 0xe6, 0x4b, 0x55, 0xd3, 0x9a,
                       0x21, 0x92, 0x99, 0x2a, 0x27, 0x4f, 0xc1, 0xa8, 0x36, 0xba, 0x3c, 0x23, 0xa3, 0xfe, 0xeb, 0xbd,
                       0x45, 0x4d, 0x44, 0x23, 0x64, 0x3c, 0xe8, 0x0e, 0x2a, 0x9a, 0xc9, 0x4f, 0xa5, 0x4c, 0xa4, 0x9f}},
    {&bm_hash_sha1, {0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e,
                     0x25, 0x71, 0x78, 0x50, 0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d}},
};

static bool knows_abc(const known_answer *answer)
{
    const bm_kernel *portable = answer->hash->kernels[0];
    uint8_t block[BM_BLOCK_MAX] = {'a', 'b', 'c', 0x80}, digest[64];
    bm_context context;
    block[answer->hash->block - 1] = 24; /* the length in bits */
    bm_context_start(&context, answer->hash);
    void *state = &context.state;
    const uint8_t *data = block;
    portable->run(&state, &data, 1);
    bm_context_digest(&context, digest);
    return memcmp(digest, answer->abc, answer->hash->digest) == 0;
}

typedef struct {
    uint8_t data[BM_LANES_MAX][TEST_BLOCKS * BM_BLOCK_MAX];
    bm_context context[BM_LANES_MAX];
} bench;

static void bench_fill(bench *self, const bm_hash *hash)
{
    uint32_t value = 1;
    for (unsigned lane = 0; lane < BM_LANES_MAX; lane++) {
        bm_context_start(&self->context[lane], hash);
        for (size_t i = 0; i < sizeof self->data[lane]; i++) {
            value = value * 1664525u + 1013904223u;
            self->data[lane][i] = (uint8_t)(value >> 24);
        }
    }
}

static void bench_run(bench *self, const bm_kernel *kernel)
{
    void *state[BM_LANES_MAX];
    const uint8_t *data[BM_LANES_MAX];
    for (unsigned first = 0; first < BM_LANES_MAX; first += kernel->lanes) {
        if (first + kernel->lanes > BM_LANES_MAX) first = BM_LANES_MAX - kernel->lanes;
        for (unsigned lane = 0; lane < kernel->lanes; lane++) {
            bm_context_start(&self->context[first + lane], self->context[first + lane].hash);
            state[lane] = &self->context[first + lane].state;
            data[lane] = self->data[first + lane];
        }
        kernel->run(state, data, TEST_BLOCKS);
    }
}

static bool agrees(const bench *reference, const bm_hash *hash, const bm_kernel *kernel)
{
    bench own;
    bench_fill(&own, hash);
    bench_run(&own, kernel);
    for (unsigned lane = 0; lane < BM_LANES_MAX; lane++)
        if (memcmp(&own.context[lane].state, &reference->context[lane].state, hash->state) != 0) return false;
    return true;
}

static const char *first_wrong(const bm_hash *hash)
{
    bench reference;
    bench_fill(&reference, hash);
    bench_run(&reference, hash->kernels[0]);
    for (const bm_kernel *const *list = hash->kernels; *list; list++)
        for (const bm_kernel *kernel = *list; kernel->name; kernel++)
            if ((kernel->cpu & ~bm_cpu()) == 0 && !agrees(&reference, hash, kernel)) return kernel->name;
    return NULL;
}

uint32_t bm_self_test(const char **kernel)
{
    for (unsigned i = 0; i < BM_HASHES; i++) {
        *kernel = knows_abc(&answers[i]) ? first_wrong(answers[i].hash) : "portable";
        if (*kernel) return answers[i].hash->want;
    }
    return 0;
}

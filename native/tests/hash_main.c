/*
 * hash_main.c: the hashes against their vectors, on whatever CPU and byte order this runs.
 *
 * Purpose.    Digests that FIPS 180-4 and the NIST examples publish; every kernel set of the CPU
 *             against the portable one over dense sizes, cuts and offsets; the nth allocation failing.
 *             Also run for other architectures under emulation. Prints what failed; exit status 1.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

static int failures;

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            failures++;                                                                            \
            printf("%s:%d: ", __FILE__, __LINE__);                                                 \
            printf(__VA_ARGS__);                                                                   \
            putchar('\n');                                                                         \
        }                                                                                          \
    } while (0)

static const uint32_t wants[3] = {BM_WANT_SHA256, BM_WANT_SHA512, BM_WANT_SHA1};

static void hex(const uint8_t *digest, size_t size, char *text)
{
    for (size_t i = 0; i < size; i++) sprintf(text + 2 * i, "%02x", digest[i]);
}

static void digest_of(uint32_t want, const uint8_t *data, size_t size, uint8_t *digest)
{
    bm_context context;
    bm_context_start(&context, bm_hash_of(want));
    bm_context_update(&context, data, size);
    bm_context_finish(&context, digest);
}

typedef struct { uint32_t want; const char *text; size_t repeat; const char *digest; } vector;

static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
static const char long_blocks[] = "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
                                  "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";

/* FIPS 180-4 examples (NIST, Cryptographic Standards and Guidelines, Examples with Intermediate Values). */
static const vector vectors[] = {
    {BM_WANT_SHA256, "", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {BM_WANT_SHA256, two_blocks, 1, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {BM_WANT_SHA256, "a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    {BM_WANT_SHA512, "", 1,
     "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
     "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"},
    {BM_WANT_SHA512, long_blocks, 1,
     "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018"
     "501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909"},
    {BM_WANT_SHA512, "a", 1000000,
     "e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973eb"
     "de0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b"},
    {BM_WANT_SHA1, "", 1, "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
    {BM_WANT_SHA1, two_blocks, 1, "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
    {BM_WANT_SHA1, "a", 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f"},
};

static void test_vectors(void)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const vector *each = &vectors[i];
        bm_context context;
        uint8_t digest[64];
        char text[129];
        bm_context_start(&context, bm_hash_of(each->want));
        for (size_t n = 0; n < each->repeat; n++)
            bm_context_update(&context, (const uint8_t *)each->text, strlen(each->text));
        bm_context_finish(&context, digest);
        hex(digest, bm_hash_of(each->want)->digest, text);
        CHECK(strcmp(text, each->digest) == 0, "vector %zu: got %s, expected %s", i, text, each->digest);
    }
}

static uint32_t random_state = 12345;

static uint32_t random_number(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

/* Random cuts of one message give the digest of the whole. */
static void test_cuts(uint32_t want, const uint8_t *data, size_t size)
{
    uint8_t whole[64], pieces[64];
    bm_context context;
    digest_of(want, data, size, whole);
    bm_context_start(&context, bm_hash_of(want));
    for (size_t at = 0; at < size;) {
        size_t piece = random_number() % 300;
        if (piece > size - at) piece = size - at;
        bm_context_update(&context, data + at, piece);
        at += piece;
    }
    bm_context_finish(&context, pieces);
    CHECK(memcmp(whole, pieces, bm_hash_of(want)->digest) == 0, "want %u, size %zu: cuts differ", want, size);
}

#define MANY 700

/* Every size up to MANY, at every alignment, through the lanes and one at a time. */
static void test_many(uint32_t want, const uint8_t *data)
{
    static uint8_t digests[MANY * 64];
    static const uint8_t *buffers[MANY];
    static size_t sizes[MANY];
    size_t length = bm_hash_of(want)->digest;
    for (size_t i = 0; i < MANY; i++) {
        sizes[i] = (i * 277) % MANY + (i % 50 == 0 ? 20000 + random_number() % 3000 : 0);
        buffers[i] = data + i % 67;
    }
    CHECK(bm_hash_many(want, buffers, sizes, MANY, digests) == BM_HASH_OK, "bm_hash_many failed");
    for (size_t i = 0; i < MANY; i++) {
        uint8_t digest[64];
        digest_of(want, buffers[i], sizes[i], digest);
        CHECK(memcmp(digest, digests + i * length, length) == 0, "want %u: buffer %zu of size %zu", want, i, sizes[i]);
    }
}

/* Every number of messages up to more than there are lanes, all of other lengths, in every order of them. */
static void test_lanes(uint32_t want, const uint8_t *data)
{
    uint8_t digests[(BM_LANES_MAX + 2) * 64], digest[64];
    const uint8_t *buffers[BM_LANES_MAX + 2];
    size_t sizes[BM_LANES_MAX + 2], length = bm_hash_of(want)->digest;
    for (size_t count = 1; count <= BM_LANES_MAX + 2; count++) {
        for (size_t i = 0; i < count; i++) sizes[i] = (i * 7 % count) * 331 + random_number() % 300, buffers[i] = data + i;
        bm_hash_many(want, buffers, sizes, count, digests);
        for (size_t i = 0; i < count; i++) {
            digest_of(want, buffers[i], sizes[i], digest);
            CHECK(memcmp(digest, digests + i * length, length) == 0, "want %u: %zu of %zu lanes", want, i, count);
        }
    }
}

/* One kernel carries everything: with fewer messages than it has lanes, with as many, with more. */
static void test_kernel(const bm_hash *hash, const bm_kernel *kernel, const uint8_t *data)
{
    uint8_t portable[64], digest[64];
    bm_hash_use(hash->want, "portable");
    digest_of(hash->want, data, 66000, portable);
    if (!bm_hash_use(hash->want, kernel->name)) return;
    digest_of(hash->want, data, 66000, digest);
    CHECK(memcmp(digest, portable, hash->digest) == 0, "%s, want %u differs from portable", kernel->name, hash->want);
    test_vectors();
    test_many(hash->want, data);
    test_lanes(hash->want, data);
    for (size_t size = 0; size < 300; size++) test_cuts(hash->want, data, size);
    test_cuts(hash->want, data, 70001);
    printf("want %2u: %s\n", hash->want, kernel->name);
}

static void test_kernels(const uint8_t *data)
{
    for (unsigned i = 0; i < 3; i++) {
        const bm_hash *hash = bm_hash_of(wants[i]);
        for (const bm_kernel *const *list = hash->kernels; *list; list++)
            for (const bm_kernel *kernel = *list; kernel->name; kernel++) test_kernel(hash, kernel, data);
    }
}

/* What calibration chooses is a plan that works, whatever the CPU is said to have. */
static void test_plans(const uint8_t *data)
{
    static const uint32_t avx2 = BM_CPU_BMI2 | BM_CPU_AVX2;
    const uint32_t sets[] = {0, BM_CPU_SSSE3, BM_CPU_SSSE3 | BM_CPU_AVX, BM_CPU_BMI2, avx2, avx2 | BM_CPU_AVX512, avx2 | BM_CPU_SHANI,
                             BM_CPU_ARM_SHA1 | BM_CPU_ARM_SHA2, 0xffffffff};
    for (size_t set = 0; set < sizeof sets / sizeof *sets; set++) {
        const char *kernel = NULL;
        bm_hash_limit(sets[set]);
        CHECK(bm_self_test(&kernel) == 0, "self-test: %s", kernel);
        for (unsigned i = 0; i < 3; i++) {
            test_many(wants[i], data);
            test_lanes(wants[i], data);
            printf("cpu %2x, want %2u: %u at a time\n", bm_cpu(), wants[i], bm_hash_width(wants[i]));
        }
    }
}

typedef struct { unsigned allowed; } failing;

static void *fail_after(void *context, void *pointer, size_t size)
{
    failing *self = context;
    if (self->allowed == 0) return NULL;
    self->allowed--;
    return realloc(pointer, size);
}

static void test_allocation(const uint8_t *data)
{
    const uint8_t *buffers[3] = {data, data + 1, data + 2};
    size_t sizes[3] = {10, 400, 77};
    uint8_t digests[3 * 64];
    int result = BM_HASH_NOMEM;
    for (unsigned n = 0; result != BM_HASH_OK && n < 10; n++) {
        failing context = {n};
        result = bm_hash_many_with((bm_allocator){fail_after, &context}, BM_WANT_SHA256, buffers, sizes, 3, digests);
        CHECK(n != 0 || result == BM_HASH_NOMEM, "no memory, but got %d", result);
    }
    CHECK(result == BM_HASH_OK, "never succeeded");
    CHECK(bm_hash_many(12345, buffers, sizes, 3, digests) == BM_HASH_UNKNOWN, "an unknown algorithm was accepted");
}

int main(void)
{
    uint8_t *data = malloc(100000);
    if (!data) return 2;
    for (size_t i = 0; i < 100000; i++) data[i] = (uint8_t)random_number();
    test_plans(data);
    test_kernels(data);
    test_allocation(data);
    free(data);
    printf("%d failures\n", failures);
    return failures != 0;
}

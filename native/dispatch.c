/*
 * dispatch.c: which kernel advances how many messages, on this CPU.
 *
 * Purpose.    The only file that asks the CPU what it can do, and the only one that measures. How
 *             much interleaving gains differs from nothing to twofold between CPUs of one family,
 *             so the number of lanes is measured rather than looked up: each usable kernel runs a
 *             few kilobytes from the first-level cache, which takes some tens of microseconds once.
 * Ownership.  Static tables.
 * Threads.    Each algorithm is calibrated behind its own pthread_once; afterwards the tables are
 *             only read. bm_hash_limit breaks that rule and is for tests and benchmarks alone.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "hash.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#define SAMPLE_BYTES 4096
#define SAMPLE_ROUNDS 8
#define KERNELS_MOST 24

static uint32_t allowed = 0xffffffff;

#if defined(__x86_64__)
static bool has_sha_instructions(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    return (b & (1u << 29)) && __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1");
}

/* The compiler's run-time looks at XCR0 too: whether the operating system saves the registers. */
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
}

static uint32_t cpu_bits(void)
{
    __builtin_cpu_init();
    bool bmi = __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    return (bmi ? BM_CPU_BMI2 : 0u) | (__builtin_cpu_supports("avx2") ? BM_CPU_AVX2 : 0u) |
           (__builtin_cpu_supports("ssse3") ? BM_CPU_SSSE3 : 0u) | (__builtin_cpu_supports("avx") ? BM_CPU_AVX : 0u) |
           (has_sha_instructions() ? BM_CPU_SHANI : 0u) | (has_avx512() ? BM_CPU_AVX512 : 0u);
}
#elif defined(__aarch64__) && defined(__linux__)
/* The bits of AT_HWCAP: arch/arm64/include/uapi/asm/hwcap.h. */
static uint32_t cpu_bits(void)
{
    unsigned long capabilities = getauxval(AT_HWCAP);
    return (capabilities & (1ul << 5) ? BM_CPU_ARM_SHA1 : 0u) | (capabilities & (1ul << 6) ? BM_CPU_ARM_SHA2 : 0u) |
           (capabilities & (1ul << 21) ? BM_CPU_ARM_SHA512 : 0u);
}
#else
static uint32_t cpu_bits(void) { return 0; }
#endif

uint32_t bm_cpu(void) { return cpu_bits() & allowed; }

const bm_hash *bm_hash_of(uint32_t want)
{
    if (want == BM_WANT_SHA256) return &bm_hash_sha256;
    if (want == BM_WANT_SHA512) return &bm_hash_sha512;
    return want == BM_WANT_SHA1 ? &bm_hash_sha1 : NULL;
}

static unsigned usable(const bm_hash *hash, const bm_kernel **found)
{
    uint32_t cpu = bm_cpu();
    unsigned count = 0;
    for (const bm_kernel *const *list = hash->kernels; *list; list++)
        for (const bm_kernel *kernel = *list; kernel->name; kernel++)
            if ((kernel->cpu & ~cpu) == 0 && count < KERNELS_MOST) found[count++] = kernel;
    return count;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* What each kernel's fastest run took, in nanoseconds: anything slower was disturbed. The kernels take turns, so
   that a disturbance costs each of them a run and none of them all. */
static void measure(const bm_hash *hash, const bm_kernel **kernels, unsigned count, double *cost)
{
    static const uint8_t sample[SAMPLE_BYTES];
    uint64_t states[BM_LANES_MAX][BM_STATE_MAX / 8];
    void *state[BM_LANES_MAX];
    const uint8_t *data[BM_LANES_MAX];
    memset(states, 0, sizeof states);
    for (unsigned lane = 0; lane < BM_LANES_MAX; lane++) state[lane] = states[lane], data[lane] = sample;
    for (unsigned i = 0; i < count; i++) cost[i] = 1e18;
    for (int round = 0; round < SAMPLE_ROUNDS; round++)
        for (unsigned i = 0; i < count; i++) {
            double start = now();
            kernels[i]->run(state, data, SAMPLE_BYTES / hash->block);
            double spent = now() - start;
            if (spent < cost[i]) cost[i] = spent;
        }
}

/* The cheapest way to advance n messages: one kernel for some or all, the cheapest way for the rest. */
static double cheapest(bm_plan *plan, const bm_kernel **kernels, const double *cost, unsigned count,
                       const double *total, unsigned n)
{
    double best = 1e18;
    for (unsigned i = 0; i < count; i++) {
        unsigned lanes = kernels[i]->lanes;
        double spent = cost[i] + (lanes < n ? total[n - lanes] : 0);
        if (spent < best) best = spent, plan->step[n] = kernels[i];
    }
    return best;
}

/* Made for CPUs without BMI2 and AVX2: on others, not worth the time of a measurement. */
static bool is_superseded(const bm_kernel *kernel)
{
    const uint32_t both = BM_CPU_BMI2 | BM_CPU_AVX2;
    return (bm_cpu() & both) == both && (kernel->cpu & ~(uint32_t)(BM_CPU_SSSE3 | BM_CPU_AVX)) == 0;
}

static unsigned candidates(const bm_hash *hash, const bm_kernel **kernels)
{
    unsigned count = usable(hash, kernels), kept = 0;
    for (unsigned i = 0; i < count; i++)
        if (!is_superseded(kernels[i])) kernels[kept++] = kernels[i];
    return kept;
}

static void calibrate(const bm_hash *hash, bm_plan *plan)
{
    const bm_kernel *kernels[KERNELS_MOST];
    double cost[KERNELS_MOST], total[BM_LANES_MAX + 1] = {0};
    unsigned count = candidates(hash, kernels);
    measure(hash, kernels, count, cost);
    for (unsigned n = 1; n <= BM_LANES_MAX; n++) total[n] = cheapest(plan, kernels, cost, count, total, n);
    plan->width = 1;
    for (unsigned n = 2; n <= BM_LANES_MAX; n++)
        if (total[n] / n < 0.98 * total[plan->width] / plan->width) plan->width = n;
}

static bm_plan plans[BM_HASHES];
static pthread_once_t once[BM_HASHES] = {PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT};

static void calibrate_sha256(void) { calibrate(&bm_hash_sha256, &plans[0]); }
static void calibrate_sha512(void) { calibrate(&bm_hash_sha512, &plans[1]); }
static void calibrate_sha1(void) { calibrate(&bm_hash_sha1, &plans[2]); }

const bm_plan *bm_hash_plan(const bm_hash *hash)
{
    static void (*const calibrations[BM_HASHES])(void) = {calibrate_sha256, calibrate_sha512, calibrate_sha1};
    unsigned index = hash->want == BM_WANT_SHA256 ? 0 : hash->want == BM_WANT_SHA512 ? 1 : 2;
    pthread_once(&once[index], calibrations[index]);
    return &plans[index];
}

void bm_hash_limit(uint32_t cpu)
{
    static const bm_hash *const hashes[BM_HASHES] = {&bm_hash_sha256, &bm_hash_sha512, &bm_hash_sha1};
    allowed = cpu;
    for (unsigned i = 0; i < BM_HASHES; i++) {
        bm_hash_plan(hashes[i]);
        calibrate(hashes[i], &plans[i]);
    }
}

const char *bm_hash_usable(uint32_t want, uint32_t number)
{
    const bm_hash *hash = bm_hash_of(want);
    const bm_kernel *kernels[KERNELS_MOST];
    return hash && number < usable(hash, kernels) ? kernels[number]->name : NULL;
}

int bm_hash_use(uint32_t want, const char *name)
{
    const bm_hash *hash = bm_hash_of(want);
    const bm_kernel *kernels[KERNELS_MOST];
    unsigned count = hash ? usable(hash, kernels) : 0, found = 0;
    while (found < count && strcmp(kernels[found]->name, name) != 0) found++;
    if (found == count) return 0;
    bm_plan *plan = &plans[bm_hash_plan(hash) - plans];
    for (unsigned n = 1; n <= BM_LANES_MAX; n++) plan->step[n] = kernels[found];
    plan->width = kernels[found]->lanes;
    return 1;
}

uint32_t bm_hash_width(uint32_t want)
{
    const bm_hash *hash = bm_hash_of(want);
    return hash ? bm_hash_plan(hash)->width : 0;
}

const char *bm_hash_kernel(uint32_t want, uint32_t lanes)
{
    const bm_hash *hash = bm_hash_of(want);
    return hash && lanes >= 1 && lanes <= BM_LANES_MAX ? bm_hash_plan(hash)->step[lanes]->name : NULL;
}

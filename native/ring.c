/*
 * ring.c: see ring.h.
 *
 * Purpose.    Two submissions for a list of names: all are opened into slots of the ring's own table,
 *             then each that could be is read and its slot closed. Measured against openat, pread and
 *             close: 10 to 15 % less time in the kernel, mostly entries and descriptors.
 * Ownership.  A bm_ring_state owns the descriptor, the two mappings and the buffers that the kernel
 *             writes to. Should the kernel ever fail to say what became of a request, the state is
 *             abandoned, not freed: late answers must not hit memory in other use.
 * Threads.    The submitting thread is the only one (IORING_SETUP_SINGLE_ISSUER).
 *
 * Source: include/uapi/linux/io_uring.h, io_uring(7); kernel 6.1 or newer.
 */
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bm.h"
#include "sys.h"

#define WORTH_IT 512      /* names by the ordinary way before a ring is set up */
#define PAUSE 16          /* calls that are skipped where less than half was cached */

#define SETUP_FLAGS ((1u << 12) | (1u << 13)) /* SINGLE_ISSUER, DEFER_TASKRUN */
#define FEATURES ((1u << 0) | (1u << 11))     /* SINGLE_MMAP, CQE_SKIP */
#define REGISTER_FILES 2u
#define MAP_RINGS 0
#define MAP_ENTRIES 0x10000000

#define OP_CLOSE 19
#define OP_READ 22
#define OP_OPENAT2 28
#define FIXED_FILE (1u << 0)
#define SKIP_SUCCESS (1u << 6)
#define READ_NOWAIT 8u   /* RWF_NOWAIT */
#define RESOLVE_CACHED 0x20u

typedef struct {
    uint8_t operation, flags;
    uint16_t priority;
    int32_t fd;
    uint64_t offset;      /* or where a struct open_how is */
    uint64_t address;
    uint32_t length, operation_flags;
    uint64_t user_data;
    uint16_t buffer, personality;
    uint32_t slot;        /* 1 for the first */
    uint64_t reserved[2];
} request;

typedef struct { uint64_t user_data; int32_t result; uint32_t flags; } answer;

typedef struct {
    uint32_t entries, answers, flags, cpu, idle, features, wq, reserved[3];
    struct { uint32_t head, tail, mask, count, flags, dropped, array, reserved; uint64_t address; } requests;
    struct { uint32_t head, tail, mask, count, overflow, answers, flags, reserved; uint64_t address; } results;
} parameters;

typedef struct { uint64_t flags, mode, resolve; } open_how;

struct bm_ring_state {
    bm_ring_state *abandoned; /* the one before */
    int fd;
    uint8_t *rings;
    size_t rings_size, requests_size;
    request *requests;
    uint32_t *array, request_mask, answer_mask, queued;
    _Atomic uint32_t *request_tail, *answer_head, *answer_tail;
    const answer *answers;
    open_how how;
    bm_heads heads;
};

static atomic_bool forbidden;
static _Atomic(bm_ring_state *) abandoned; /* kept, since the kernel may still write to them */

void bm_ring_forbid(int yes) { atomic_store(&forbidden, yes != 0); }

static void *allocate(bm_allocator allocator, size_t size)
{
    return allocator.resize ? allocator.resize(allocator.context, NULL, size) : malloc(size);
}

static void destroy(bm_ring_state *state)
{
    if (state->requests != MAP_FAILED) munmap(state->requests, state->requests_size);
    if (state->rings != MAP_FAILED) munmap(state->rings, state->rings_size);
    if (state->fd >= 0) bm_sys_close(state->fd);
    free(state);
}

static bool map(bm_ring_state *state, const parameters *found)
{
    size_t requests_end = found->requests.array + found->entries * sizeof(uint32_t);
    size_t answers_end = found->results.answers + found->answers * sizeof(answer);
    state->rings_size = requests_end > answers_end ? requests_end : answers_end;
    state->requests_size = found->entries * sizeof(request);
    int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    state->rings = mmap(NULL, state->rings_size, protection, flags, state->fd, MAP_RINGS);
    state->requests = mmap(NULL, state->requests_size, protection, flags, state->fd, MAP_ENTRIES);
    if (state->rings == MAP_FAILED || state->requests == MAP_FAILED) return false;
    uint8_t *base = state->rings;
    state->request_tail = (void *)(base + found->requests.tail);
    state->request_mask = *(uint32_t *)(void *)(base + found->requests.mask);
    state->array = (void *)(base + found->requests.array);
    state->answer_head = (void *)(base + found->results.head);
    state->answer_tail = (void *)(base + found->results.tail);
    state->answer_mask = *(uint32_t *)(void *)(base + found->results.mask);
    state->answers = (void *)(base + found->results.answers);
    return true;
}

static bool register_slots(const bm_ring_state *state)
{
    int32_t empty[RING_FILES];
    for (uint32_t i = 0; i < RING_FILES; i++) empty[i] = -1;
    return bm_sys_ring_register(state->fd, REGISTER_FILES, empty, RING_FILES) == 0;
}

static bm_ring_state *create(bm_allocator allocator)
{
    parameters found = {.flags = SETUP_FLAGS};
    bm_ring_state *state = allocate(allocator, sizeof *state);
    if (!state) return NULL;
    memset(state, 0, sizeof *state);
    state->rings = MAP_FAILED, state->requests = MAP_FAILED;
    /* no O_CLOEXEC, which a slot cannot have: no descriptor is made that a child could inherit */
    state->how = (open_how){O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW, 0, RESOLVE_CACHED};
    state->fd = bm_sys_ring_setup(2 * RING_FILES, &found);
    if (state->fd >= 0 && (found.features & FEATURES) == FEATURES && map(state, &found) && register_slots(state))
        return state;
    destroy(state);
    return NULL;
}

static request *next(bm_ring_state *state, uint8_t operation, uint32_t file)
{
    uint32_t tail = atomic_load_explicit(state->request_tail, memory_order_relaxed), at = tail & state->request_mask;
    request *made = &state->requests[at];
    *made = (request){.operation = operation, .user_data = file};
    state->array[at] = at;
    state->queued++;
    atomic_store_explicit(state->request_tail, tail + 1, memory_order_release);
    return made;
}

/* Takes what has been answered; results go to their files. Returns how many there were. */
static uint32_t reap(bm_ring_state *state, int32_t *results)
{
    uint32_t head = atomic_load_explicit(state->answer_head, memory_order_relaxed), first = head;
    uint32_t tail = atomic_load_explicit(state->answer_tail, memory_order_acquire);
    for (; head != tail; head++) {
        const answer *found = &state->answers[head & state->answer_mask];
        if (found->user_data < RING_FILES) results[found->user_data] = found->result;
    }
    atomic_store_explicit(state->answer_head, head, memory_order_release);
    return head - first;
}

/* Submits what is queued and takes `expected` answers; false where the ring can no longer be trusted. */
static bool submit(bm_ring_state *state, uint32_t expected, int32_t *results)
{
    while (state->queued || expected) {
        int taken = bm_sys_ring_enter(state->fd, state->queued, expected);
        if (taken < 0 && errno != EINTR) return false;
        if (taken > 0) state->queued -= (uint32_t)taken;
        uint32_t answered = reap(state, results);
        if (answered > expected) return false;
        expected -= answered;
    }
    return true;
}

static bool open_all(bm_ring_state *state, int base, const char *const *names, uint32_t count, int32_t *results)
{
    for (uint32_t i = 0; i < count; i++) {
        request *open = next(state, OP_OPENAT2, i);
        open->fd = base;
        open->address = (uintptr_t)names[i];
        open->offset = (uintptr_t)&state->how;
        open->length = sizeof state->how;
        open->slot = i + 1;
    }
    return submit(state, count, results);
}

/* A close answers only when it fails, which an open slot does not do: then the ring is given up. */
static bool read_all(bm_ring_state *state, const int32_t *opened, uint32_t count)
{
    uint32_t reads = 0;
    for (uint32_t i = 0; i < count; i++) {
        state->heads.length[i] = -1;
        if (opened[i] < 0) continue;
        request *read = next(state, OP_READ, i);
        read->flags = FIXED_FILE;
        read->fd = (int32_t)i;
        read->address = (uintptr_t)state->heads.bytes[i];
        read->length = RING_HEAD;
        read->operation_flags = READ_NOWAIT;
        request *close = next(state, OP_CLOSE, i);
        close->flags = SKIP_SUCCESS;
        close->slot = i + 1;
        reads++;
    }
    return submit(state, reads, state->heads.length);
}

static bool usable(bm_ring *ring, bm_allocator allocator, uint32_t count)
{
    if (ring->off || atomic_load_explicit(&forbidden, memory_order_relaxed)) return false;
    if (ring->pause) return ring->pause--, false;
    if (ring->state) return true;
    ring->seen += count;
    if (ring->seen < WORTH_IT) return false;
    ring->state = create(allocator);
    ring->off = !ring->state;
    return !ring->off;
}

static void abandon(bm_ring *ring)
{
    bm_ring_state *state = ring->state;
    bm_sys_close(state->fd);
    state->abandoned = atomic_load(&abandoned);
    while (!atomic_compare_exchange_weak(&abandoned, &state->abandoned, state)) {}
    ring->state = NULL;
    ring->off = true;
}

const bm_heads *bm_ring_heads(bm_ring *ring, bm_allocator allocator, int base, const char *const *names,
                              uint32_t count)
{
    int32_t opened[RING_FILES];
    uint32_t known = 0;
    if (count == 0 || count > RING_FILES || !usable(ring, allocator, count)) return NULL;
    if (!open_all(ring->state, base, names, count, opened) || !read_all(ring->state, opened, count)) {
        abandon(ring);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (opened[i] == -EINVAL) ring->off = true; /* a kernel without one of the operations */
        if (ring->state->heads.length[i] >= 0) known++;
    }
    if (2 * known < count) ring->pause = PAUSE;
    return &ring->state->heads;
}

void bm_ring_end(bm_ring *ring)
{
    if (ring->state) destroy(ring->state);
    ring->state = NULL;
}

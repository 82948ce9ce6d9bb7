/*
 * hash.c: messages of any length on top of the kernels: padding, pieces, many buffers at once.
 *
 * Purpose.    What FIPS 180-4, section 5, asks for around the compression function, written once
 *             for the three algorithms.
 * Ownership.  bm_hash_new hands out a context that bm_hash_free takes back; buffers and digests are
 *             the caller's.
 * Threads.    A context belongs to one thread at a time; nothing else is shared.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "hash.h"

void bm_context_start(bm_context *context, const bm_hash *hash)
{
    context->hash = hash;
    context->total = 0;
    context->fill = 0;
    memcpy(&context->state, hash->initial, hash->state);
}

static void run_one(bm_context *context, const uint8_t *data, size_t blocks)
{
    bm_job job = {.state = &context->state, .data = data};
    if (blocks) bm_kernel_run(bm_hash_plan(context->hash)->step[1], &job, 1, blocks);
}

static size_t fill_pending(bm_context *context, const uint8_t *data, size_t size)
{
    size_t room = context->hash->block - context->fill;
    size_t taken = size < room ? size : room;
    memcpy(context->pending + context->fill, data, taken);
    context->fill += (uint32_t)taken;
    if (context->fill == context->hash->block) {
        run_one(context, context->pending, 1);
        context->fill = 0;
    }
    return taken;
}

void bm_context_update(bm_context *context, const uint8_t *data, size_t size)
{
    size_t block = context->hash->block, taken = 0;
    if (size == 0) return;
    context->total += size;
    if (context->fill) taken = fill_pending(context, data, size);
    size_t whole = (size - taken) / block;
    run_one(context, data + taken, whole);
    taken += whole * block;
    if (taken < size) fill_pending(context, data + taken, size - taken);
}

/* Writes the padding behind the pending bytes; returns the blocks that now stand there. */
static size_t pad(bm_context *context)
{
    const bm_hash *hash = context->hash;
    size_t end = context->fill + 1u + hash->length_field <= hash->block ? hash->block : 2u * hash->block;
    context->pending[context->fill] = 0x80;
    memset(context->pending + context->fill + 1, 0, end - context->fill - 1);
    store_be64(context->pending + end - 8, context->total << 3);
    if (hash->length_field == 16) store_be64(context->pending + end - 16, context->total >> 61);
    return end / hash->block;
}

void bm_context_digest(const bm_context *context, uint8_t *digest)
{
    const bm_hash *hash = context->hash;
    for (size_t i = 0; i < hash->digest / (size_t)hash->word; i++) {
        if (hash->word == 8) store_be64(digest + 8 * i, context->state.w64[i]);
        else store_be32(digest + 4 * i, context->state.w32[i]);
    }
}

void bm_context_finish(bm_context *context, uint8_t *digest)
{
    run_one(context, context->pending, pad(context));
    bm_context_digest(context, digest);
}

void bm_context_job(bm_context *context, const uint8_t *data, size_t size, bool last, bm_job *job)
{
    size_t block = context->hash->block;
    *job = (bm_job){.state = &context->state, .data = data, .blocks = size / block, .tail = context->pending};
    context->total += size;
    if (!last) return;
    context->fill = (uint32_t)(size % block);
    if (context->fill) memcpy(context->pending, data + size - context->fill, context->fill);
    job->tail_blocks = pad(context);
}

/* Many buffers. An index sorted by size says which comes next; a context is found through the
 * job's state pointer, because lanes are repacked. */
typedef struct {
    bm_feed feed;
    const bm_hash *hash;
    const uint8_t *const *buffers;
    const size_t *sizes;
    uint8_t *digests;
    const size_t *order;
    size_t next, count;
    unsigned used;
    bm_context context[BM_LANES_MAX];
    size_t owner[BM_LANES_MAX];
} many_feed;

static unsigned many_collect(many_feed *self, const bm_job *job)
{
    if (job->state == NULL) return self->used++;
    unsigned slot = 0;
    while (job->state != (const void *)&self->context[slot].state) slot++;
    bm_context_digest(&self->context[slot], self->digests + self->owner[slot] * self->hash->digest);
    return slot;
}

static bool many_next(bm_feed *feed, unsigned lane, bm_job *job)
{
    many_feed *self = (many_feed *)feed;
    (void)lane;
    if (self->next == self->count && job->state == NULL) return false;
    unsigned slot = many_collect(self, job);
    if (self->next == self->count) return false;
    size_t index = self->order ? self->order[self->next] : self->next;
    self->next++;
    self->owner[slot] = index;
    bm_context_start(&self->context[slot], self->hash);
    bm_context_job(&self->context[slot], self->buffers[index], self->sizes[index], true, job);
    return true;
}

typedef struct { size_t size, index; } sized;

static int by_size(const void *left, const void *right)
{
    const sized *a = left, *b = right;
    if (a->size != b->size) return a->size < b->size ? 1 : -1;
    return a->index < b->index ? -1 : 1;
}

static bool all_equal(const size_t *sizes, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (sizes[i] != sizes[0]) return false;
    return true;
}

static void *allocate(bm_allocator allocator, size_t size)
{
    return allocator.resize ? allocator.resize(allocator.context, NULL, size) : malloc(size);
}

/* The order of the buffers, longest first; NULL where memory fails. */
static size_t *longest_first(bm_allocator allocator, const size_t *sizes, size_t count)
{
    sized *items = allocate(allocator, count * sizeof *items);
    size_t *order = allocate(allocator, count * sizeof *order);
    if (items && order) {
        for (size_t i = 0; i < count; i++) items[i] = (sized){sizes[i], i};
        qsort(items, count, sizeof *items, by_size);
        for (size_t i = 0; i < count; i++) order[i] = items[i].index;
    } else {
        free(order);
        order = NULL;
    }
    free(items);
    return order;
}

void bm_hash_ordered(const bm_hash *hash, const uint8_t *const *buffers, const size_t *sizes, const size_t *order,
                     size_t count, uint8_t *digests)
{
    many_feed feed = {.feed = {many_next}, .hash = hash, .buffers = buffers, .sizes = sizes,
                      .digests = digests, .order = order, .count = count};
    bm_lanes_drive(hash, &feed.feed);
}

int bm_hash_many_with(bm_allocator allocator, uint32_t want, const uint8_t *const *buffers, const size_t *sizes,
                      size_t count, uint8_t *digests)
{
    const bm_hash *hash = bm_hash_of(want);
    size_t *order = NULL;
    if (hash == NULL || count > SIZE_MAX / sizeof(sized)) return BM_HASH_UNKNOWN;
    if (!all_equal(sizes, count)) {
        order = longest_first(allocator, sizes, count);
        if (order == NULL) return BM_HASH_NOMEM;
    }
    bm_hash_ordered(hash, buffers, sizes, order, count, digests);
    free(order);
    return BM_HASH_OK;
}

int bm_hash_many(uint32_t want, const uint8_t *const *buffers, const size_t *sizes, size_t count, uint8_t *digests)
{
    return bm_hash_many_with((bm_allocator){NULL, NULL}, want, buffers, sizes, count, digests);
}

bm_context *bm_hash_new(uint32_t want)
{
    const bm_hash *hash = bm_hash_of(want);
    bm_context *context = hash ? malloc(sizeof *context) : NULL;
    if (context) bm_context_start(context, hash);
    return context;
}

void bm_hash_update(bm_context *context, const uint8_t *data, size_t size) { bm_context_update(context, data, size); }
void bm_hash_finish(bm_context *context, uint8_t *digest) { bm_context_finish(context, digest); }
void bm_hash_free(bm_context *context) { free(context); }

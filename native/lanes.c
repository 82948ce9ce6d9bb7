/*
 * lanes.c: which message runs in which lane.
 *
 * Purpose.    Keep the lanes of a kernel full: all active messages advance together by as many
 *             blocks as the shortest of them has left, and an empty lane takes the next message at
 *             once. Messages come longest first, so that a long one does not end up alone.
 * Ownership.  None: jobs, states and data are the caller's.
 * Threads.    No state of its own.
 */
#include <string.h>

#include "hash.h"

typedef struct {
    bm_job job[BM_LANES_MAX];
    unsigned active;
} lane_set;

/* Moves from data to tail to the next message; false when the lane has run dry. */
static bool lane_refill(bm_feed *feed, unsigned lane, bm_job *job)
{
    while (job->blocks == 0) {
        if (job->tail_blocks) {
            job->data = job->tail, job->blocks = job->tail_blocks;
            job->tail_blocks = 0;
        } else if (!feed->next(feed, lane, job)) {
            return false;
        }
    }
    return true;
}

/* Lanes stay packed: the last one takes the place of one that ran dry. Feeds never tie anything to
 * a lane's number for that reason. */
static void lanes_refill(bm_feed *feed, lane_set *set)
{
    for (unsigned lane = 0; lane < set->active;) {
        if (lane_refill(feed, lane, &set->job[lane])) lane++;
        else set->job[lane] = set->job[--set->active];
    }
}

static size_t lanes_common(const lane_set *set)
{
    size_t blocks = set->job[0].blocks;
    for (unsigned lane = 1; lane < set->active; lane++)
        if (set->job[lane].blocks < blocks) blocks = set->job[lane].blocks;
    return blocks;
}

/* Runs one kernel on `count` messages; a wider kernel gets copies of the first as padding. */
void bm_kernel_run(const bm_kernel *kernel, const bm_job *jobs, unsigned count, size_t blocks)
{
    uint64_t spare[BM_LANES_MAX][BM_STATE_MAX / 8];
    void *state[BM_LANES_MAX];
    const uint8_t *data[BM_LANES_MAX];
    for (unsigned lane = 0; lane < kernel->lanes; lane++) {
        const bm_job *job = lane < count ? &jobs[lane] : &jobs[0];
        if (lane >= count) memset(spare[lane], 0, sizeof spare[lane]);
        state[lane] = lane < count ? job->state : spare[lane];
        data[lane] = job->data;
    }
    kernel->run(state, data, blocks);
}

static void lanes_advance(const bm_hash *hash, const bm_plan *plan, lane_set *set)
{
    size_t blocks = lanes_common(set);
    for (unsigned done = 0; done < set->active;) {
        const bm_kernel *kernel = plan->step[set->active - done];
        unsigned left = set->active - done;
        unsigned count = kernel->lanes < left ? kernel->lanes : left;
        bm_kernel_run(kernel, &set->job[done], count, blocks);
        done += count;
    }
    for (unsigned lane = 0; lane < set->active; lane++) {
        set->job[lane].data += blocks * hash->block;
        set->job[lane].blocks -= blocks;
    }
}

void bm_lanes_drive(const bm_hash *hash, bm_feed *feed)
{
    const bm_plan *plan = bm_hash_plan(hash);
    lane_set set;
    memset(&set, 0, sizeof set);
    set.active = plan->width;
    for (lanes_refill(feed, &set); set.active; lanes_refill(feed, &set)) lanes_advance(hash, plan, &set);
}

typedef struct {
    bm_feed feed;
    const bm_job *next, *end;
} job_feed;

static bool job_next(bm_feed *feed, unsigned lane, bm_job *job)
{
    job_feed *self = (job_feed *)feed;
    (void)lane;
    if (self->next == self->end) return false;
    *job = *self->next++;
    return true;
}

static size_t job_blocks(const bm_job *job) { return job->blocks + job->tail_blocks; }

/* Insertion sort: the arrays are short and usually in order. */
static void jobs_sort(bm_job *jobs, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        bm_job job = jobs[i];
        size_t at = i;
        for (; at && job_blocks(&jobs[at - 1]) < job_blocks(&job); at--) jobs[at] = jobs[at - 1];
        jobs[at] = job;
    }
}

void bm_lanes_run(const bm_hash *hash, bm_job *jobs, size_t count)
{
    jobs_sort(jobs, count);
    job_feed feed = {{job_next}, jobs, jobs + count};
    bm_lanes_drive(hash, &feed.feed);
}

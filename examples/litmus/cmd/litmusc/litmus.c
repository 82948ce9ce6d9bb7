#include "litmus.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* A variable on a cache line of its own. */
struct cell {
	_Alignas(128) atomic_int v;
};

struct instance {
	struct cell x, y;
	int r1, r2;
};

static struct instance instances[LITMUS_BATCH];
static atomic_int ready, counter;

typedef void thread_body(struct instance *);

#define RELAXED memory_order_relaxed
#define SET(variable, order) atomic_store_explicit(&i->variable.v, 1, order)
#define GET(variable, order) atomic_load_explicit(&i->variable.v, order)

/* Store buffering. */
static void sb1_relaxed(struct instance *i) { SET(x, RELAXED); i->r1 = GET(y, RELAXED); }
static void sb2_relaxed(struct instance *i) { SET(y, RELAXED); i->r2 = GET(x, RELAXED); }
static void sb1_ordered(struct instance *i) { SET(x, memory_order_seq_cst); i->r1 = GET(y, memory_order_seq_cst); }
static void sb2_ordered(struct instance *i) { SET(y, memory_order_seq_cst); i->r2 = GET(x, memory_order_seq_cst); }

/* Message passing. */
static void mp1_relaxed(struct instance *i) { SET(x, RELAXED); SET(y, RELAXED); }
static void mp2_relaxed(struct instance *i) { i->r1 = GET(y, RELAXED); i->r2 = GET(x, RELAXED); }
static void mp1_ordered(struct instance *i) { SET(x, RELAXED); SET(y, memory_order_release); }
static void mp2_ordered(struct instance *i) { i->r1 = GET(y, memory_order_acquire); i->r2 = GET(x, RELAXED); }

/* Load buffering. */
static void lb1_relaxed(struct instance *i) { i->r1 = GET(x, RELAXED); SET(y, RELAXED); }
static void lb2_relaxed(struct instance *i) { i->r2 = GET(y, RELAXED); SET(x, RELAXED); }
static void lb1_ordered(struct instance *i) { i->r1 = GET(x, memory_order_acquire); SET(y, memory_order_release); }
static void lb2_ordered(struct instance *i) { i->r2 = GET(y, memory_order_acquire); SET(x, memory_order_release); }

static int both_zero(const struct instance *i) { return i->r1 == 0 && i->r2 == 0; }
static int flag_alone(const struct instance *i) { return i->r1 == 1 && i->r2 == 0; }
static int both_one(const struct instance *i) { return i->r1 == 1 && i->r2 == 1; }

static const struct {
	const char *test, *order;
	thread_body *first, *second;
	int (*forbidden)(const struct instance *);
} shapes[] = {
	{"SB", "relaxed", sb1_relaxed, sb2_relaxed, both_zero},
	{"MP", "relaxed", mp1_relaxed, mp2_relaxed, flag_alone},
	{"LB", "relaxed", lb1_relaxed, lb2_relaxed, both_one},
	{"SB", "seq_cst", sb1_ordered, sb2_ordered, both_zero},
	{"MP", "acquire-release", mp1_ordered, mp2_ordered, flag_alone},
	{"LB", "acquire-release", lb1_ordered, lb2_ordered, both_one},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Wait until both threads are here: they then run through the instances side by side. */
static void meet(void)
{
	atomic_fetch_add(&ready, 1);
	while (atomic_load(&ready) < 2)
		;
}

static void *through(void *body)
{
	thread_body *const *thread = body;
	meet();
	for (int n = 0; n < LITMUS_BATCH; n++)
		(*thread)(&instances[n]);
	return NULL;
}

static void *swap(void *unused)
{
	(void)unused;
	meet();
	for (int n = 0; n < LITMUS_BATCH / 2; n++) {
		int old = atomic_load_explicit(&counter, RELAXED);
		while (!atomic_compare_exchange_weak_explicit(&counter, &old, old + 1, RELAXED, RELAXED))
			;
	}
	return NULL;
}

/* A load and a store, each atomic by itself: additions of the other thread in between are lost. */
static void *torn(void *unused)
{
	(void)unused;
	meet();
	for (int n = 0; n < LITMUS_BATCH / 2; n++)
		atomic_store_explicit(&counter, atomic_load_explicit(&counter, RELAXED) + 1, RELAXED);
	return NULL;
}

static int race(void *(*first)(void *), void *one, void *(*second)(void *), void *two)
{
	pthread_t threads[2];
	atomic_store(&ready, 0);
	int error = pthread_create(&threads[0], NULL, first, one);
	if (error)
		return error;
	error = pthread_create(&threads[1], NULL, second, two);
	if (error)
		atomic_store(&ready, 2); /* let the first one go */
	else
		pthread_join(threads[1], NULL);
	pthread_join(threads[0], NULL);
	return error;
}

/* Many short races rather than a long one, in which the threads would take turns on a busy machine. */
static struct litmus_result count(int ordered, int iterations)
{
	struct litmus_result r = {.test = "CAS", .order = ordered ? "compare-and-swap" : "load-store", .must_not = ordered};
	void *(*thread)(void *) = ordered ? swap : torn;
	for (; r.iterations < iterations / LITMUS_BATCH * LITMUS_BATCH && !r.error; r.iterations += LITMUS_BATCH) {
		atomic_store(&counter, 0);
		r.error = race(thread, NULL, thread, NULL);
		r.forbidden += LITMUS_BATCH - atomic_load(&counter);
	}
	return r;
}

struct litmus_result litmus_run(int test, int iterations)
{
	if (test >= SHAPES)
		return count(test > SHAPES, iterations);
	struct litmus_result r = {.test = shapes[test].test, .order = shapes[test].order, .must_not = test >= SHAPES / 2};
	for (; r.iterations < iterations / LITMUS_BATCH * LITMUS_BATCH && !r.error; r.iterations += LITMUS_BATCH) {
		memset(instances, 0, sizeof instances);
		thread_body *first = shapes[test].first, *second = shapes[test].second;
		r.error = race(through, &first, through, &second);
		for (int n = 0; n < LITMUS_BATCH; n++)
			r.forbidden += shapes[test].forbidden(&instances[n]);
	}
	return r;
}

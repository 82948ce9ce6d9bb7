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
static atomic_int counter;

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

/* What two threads do, batch after batch, and how far they are. */
struct race {
	void (*first)(const struct race *), (*second)(const struct race *);
	thread_body *one, *two;
	int batches;
	atomic_long arrived;
};

/* Wait until both threads have been here `times` times. They spin and never yield: only threads that both run when
 * they go on can see each other's stores out of order, and a kernel moves threads that keep a CPU busy to two CPUs. */
static void meet(struct race *race, long times)
{
	atomic_fetch_add(&race->arrived, 1);
	while (atomic_load(&race->arrived) < 2 * times)
		;
}

static void *second(void *argument)
{
	struct race *race = argument;
	for (long batch = 0; batch < race->batches; batch++) {
		meet(race, 2 * batch + 1);
		race->second(race);
		meet(race, 2 * batch + 2);
	}
	return NULL;
}

/* Run a race; `before` and `after` each batch, while the other thread waits. Returns an errno. */
static int run(struct race *race, void (*before)(void), int (*after)(const void *), const void *with, int *forbidden)
{
	pthread_t thread;
	int error = pthread_create(&thread, NULL, second, race);
	if (error)
		return error;
	for (long batch = 0; batch < race->batches; batch++) {
		before();
		meet(race, 2 * batch + 1);
		race->first(race);
		meet(race, 2 * batch + 2);
		*forbidden += after(with);
	}
	return pthread_join(thread, NULL);
}

static void first_through(const struct race *race)
{
	for (int n = 0; n < LITMUS_BATCH; n++)
		race->one(&instances[n]);
}

static void second_through(const struct race *race)
{
	for (int n = 0; n < LITMUS_BATCH; n++)
		race->two(&instances[n]);
}

static void swap(const struct race *race)
{
	(void)race;
	for (int n = 0; n < LITMUS_BATCH / 2; n++) {
		int old = atomic_load_explicit(&counter, RELAXED);
		while (!atomic_compare_exchange_weak_explicit(&counter, &old, old + 1, RELAXED, RELAXED))
			;
	}
}

/* A load and a store, each atomic by itself: additions of the other thread in between are lost. */
static void torn(const struct race *race)
{
	(void)race;
	for (int n = 0; n < LITMUS_BATCH / 2; n++)
		atomic_store_explicit(&counter, atomic_load_explicit(&counter, RELAXED) + 1, RELAXED);
}

static void clear(void) { memset(instances, 0, sizeof instances); }
static void zero(void) { atomic_store(&counter, 0); }

static int forbidden_in(const void *shape)
{
	int found = 0, (*const *forbidden)(const struct instance *) = shape;
	for (int n = 0; n < LITMUS_BATCH; n++)
		found += (*forbidden)(&instances[n]);
	return found;
}

static int lost(const void *unused)
{
	(void)unused;
	return LITMUS_BATCH - atomic_load(&counter);
}

struct litmus_result litmus_run(int test, int iterations)
{
	struct race race = {.first = first_through, .second = second_through, .batches = iterations / LITMUS_BATCH};
	struct litmus_result r = {.iterations = race.batches * LITMUS_BATCH};
	if (test < SHAPES) {
		r.test = shapes[test].test;
		r.order = shapes[test].order;
		r.must_not = test >= SHAPES / 2;
		race.one = shapes[test].first;
		race.two = shapes[test].second;
		r.error = run(&race, clear, forbidden_in, &shapes[test].forbidden, &r.forbidden);
		return r;
	}
	r.test = "CAS";
	r.must_not = test > SHAPES;
	r.order = r.must_not ? "compare-and-swap" : "load-store";
	race.first = race.second = r.must_not ? swap : torn;
	r.error = run(&race, zero, lost, NULL, &r.forbidden);
	return r;
}

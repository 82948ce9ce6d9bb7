/* Litmus tests with C11 atomics. Each runs two threads over many instances, and counts the outcomes that sequential
 * consistency forbids. With relaxed accesses they may occur; with the ordered ones they must not. */
#ifndef LITMUS_H
#define LITMUS_H

enum { LITMUS_BATCH = 1000, LITMUS_TESTS = 8 };

struct litmus_result {
	const char *test, *order;
	int iterations, forbidden;
	int must_not; /* whether a forbidden outcome is a defect */
	int error;    /* an errno, where a thread could not be started */
};

/* Run test number `test`, 0 to LITMUS_TESTS - 1, for about `iterations` rounds. */
struct litmus_result litmus_run(int test, int iterations);

#endif

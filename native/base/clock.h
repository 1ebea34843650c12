/* clock.h - the one real clock, CLOCK_MONOTONIC, and how to wait for a time of it. */
#ifndef XS_CLOCK_H
#define XS_CLOCK_H

#include <pthread.h>

#include "base/base.h"

/* A sleep ends this early, and the thread spins for the rest, because a sleeping thread wakes
 * up tens of microseconds late (measured in bench/RESULTS.md). */
#define XS_SPIN_NS INT64_C(200000)

/* No blocking wait lasts longer, so that every thread sees a stop. */
#define XS_SLICE_NS INT64_C(50000000)

xs_ns xs__clock_ns(void); /* time since boot; never goes back */

/* Sleep until the clock reads `at_ns`. The thread wakes up late, never early. */
void xs__clock_sleep_until(xs_ns at_ns);

/* Ask the kernel not to batch this thread's timers (slack 50 us -> 1 ns). */
void xs__clock_precise_thread(void);

/* One iteration of a busy wait. */
void xs__clock_relax(void);
/* One iteration of a busy wait for another thread, which may need this processor. */
void xs__clock_yield(void);

/* Make a condition variable on this clock. Returns 0 or errno. */
int xs__cond_init(pthread_cond_t *cond);
/* Return after a signal, after a spurious wake-up, or at `at_ns`. */
void xs__cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, xs_ns at_ns);

#endif

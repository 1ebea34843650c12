/* clock.c - see clock.h. Linux; #if for the processor's pause instruction. */
#include "base/clock.h"

#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)

static struct timespec timespec_of(xs_ns at_ns)
{
    struct timespec t = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)};
    return t;
}

xs_ns xs__clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (xs_ns)t.tv_sec * NS_PER_S + t.tv_nsec;
}

void xs__clock_sleep_until(xs_ns at_ns)
{
    struct timespec t = timespec_of(at_ns);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        continue;
}

void xs__clock_precise_thread(void)
{
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* a refusal costs precision only */
}

void xs__clock_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

void xs__clock_yield(void)
{
    sched_yield();
}

int xs__cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    if (rc != 0)
        return rc;
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (rc == 0)
        rc = pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
    return rc;
}

void xs__cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, xs_ns at_ns)
{
    struct timespec t = timespec_of(at_ns);
    pthread_cond_timedwait(cond, mutex, &t);
}

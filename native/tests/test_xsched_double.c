/* test_xsched_double.c - the double of XSched's libraries, alone: order by priority, the
 * threshold, suspending, waiting on destroy, result codes, and each of its faults in a
 * process of its own. */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "doubles/xsched/preempt.h"

extern char **environ;

/* Its functions, looked up as a binding does it. */
#define CALLS(X)                                                                                   \
    X(XQueueCreate)                                                                                \
    X(XQueueDestroy)                                                                               \
    X(XQueueGet)                                                                                   \
    X(XQueueSetPreemptLevel)                                                                       \
    X(XQueueSetLaunchConfig)                                                                       \
    X(XQueueSubmit)                                                                                \
    X(XQueueWait)                                                                                  \
    X(XQueueWaitAll)                                                                               \
    X(XQueueQuery)                                                                                 \
    X(XQueueSuspend)                                                                               \
    X(XQueueResume)                                                                                \
    X(XQueueProfileHwCommandCount)                                                                 \
    X(HwQueueDestroy)                                                                              \
    X(HwQueueLaunch)                                                                               \
    X(HwQueueSynchronize)                                                                          \
    X(HwCommandCreateCallback)                                                                     \
    X(HwCommandDestroy)                                                                            \
    X(XHintSetScheduler)                                                                           \
    X(XHintPriority)                                                                               \
    X(XHintUtilization)                                                                            \
    X(XHintTimeslice)                                                                              \
    X(XHintLaxity)                                                                                 \
    X(XHintDeadline)                                                                               \
    X(XHintKDeadline)

#define DECLARE(name) __typeof__(name) *name;
#define LOOK_UP(name) CHECK((*(void **)&xs.name = dlsym(preempt, #name)) != NULL);

static struct {
    CALLS(DECLARE) int (*NullQueueCreate)(HwQueueHandle *hwq, void (**queue)(void));
} xs;

static void load(void)
{
    const char *place = getenv("XS_TEST_XSCHED_LIB");
    char path[4096];
    if (place == NULL) {
        printf("XS_TEST_XSCHED_LIB names no directory of libraries\n");
        exit(77);
    }
    snprintf(path, sizeof path, "%s/libhalnull.so", place);
    void *hal = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (hal == NULL)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(hal != NULL);
    void *preempt = dlopen("libpreempt.so", RTLD_NOW | RTLD_NOLOAD); /* by RUNPATH */
    CHECK(preempt != NULL);
    CALLS(LOOK_UP)
    CHECK((*(void **)&xs.NullQueueCreate = dlsym(hal, "NullQueueCreate")) != NULL);
}

/* ---- a device, two queues ------------------------------------------------------------ */

static _Atomic int in_flight, most_in_flight, launched;
static char order[64];
static _Atomic bool gate;

static void synchronize(void)
{
    in_flight = 0;
}

static void (*streams[2])(void) = {synchronize, synchronize};

static int launch(HwQueueHandle hwq, void *data)
{
    (void)hwq;
    if (++in_flight > most_in_flight)
        most_in_flight = in_flight;
    order[launched++] = *(const char *)data;
    return 0;
}

static int wait_for_gate(HwQueueHandle hwq, void *data)
{
    while (!gate)
        usleep(100);
    return launch(hwq, data);
}

static void open_queues(XQueueHandle *xq, HwQueueHandle *hwq, int count)
{
    memset(order, 0, sizeof order);
    in_flight = most_in_flight = launched = 0;
    gate = false;
    for (int i = 0; i < count; i++) {
        CHECK_EQ(xs.NullQueueCreate(&hwq[i], &streams[i]), 0);
        CHECK_EQ(hwq[i], (uintptr_t)&streams[i]);
        CHECK_EQ(xs.XQueueCreate(&xq[i], hwq[i], 1, 0), 0);
        CHECK_EQ(xq[i] >> 48, (uint64_t)getpid() & 0xffff);
    }
}

static void close_queues(const XQueueHandle *xq, const HwQueueHandle *hwq, int count)
{
    for (int i = 0; i < count; i++) {
        CHECK_EQ(xs.HwQueueDestroy(hwq[i]), PREEMPT_NOT_ALLOWED);
        CHECK_EQ(xs.XQueueDestroy(xq[i]), 0);
        CHECK_EQ(xs.HwQueueDestroy(hwq[i]), 0);
    }
}

static void submit(XQueueHandle xq, LaunchCallback callback, const char *name, int count)
{
    HwCommandHandle command;
    for (int i = 0; i < count; i++) {
        CHECK_EQ(xs.HwCommandCreateCallback(&command, callback, (void *)(uintptr_t)name), 0);
        CHECK_EQ(xs.XQueueSubmit(xq, command), 0);
    }
}

/* The first queue is ready first; the launches of the second come before or after. */
static void launch_order(int32_t first, int32_t second, const char *expected)
{
    XQueueHandle xq[2];
    HwQueueHandle hwq[2];
    open_queues(xq, hwq, 2);
    CHECK_EQ(xs.XHintPriority(xq[0], first), 0);
    CHECK_EQ(xs.XHintPriority(xq[1], second), 0);
    submit(xq[0], wait_for_gate, "a", 1);
    submit(xq[0], launch, "a", 2);
    submit(xq[1], launch, "b", 3);
    if (second > first) /* otherwise it is suspended, and waiting for it never ends */
        CHECK_EQ(xs.XQueueWaitAll(xq[1]), 0);
    gate = true;
    CHECK_EQ(xs.XQueueWaitAll(xq[0]), 0);
    CHECK_EQ(xs.XQueueWaitAll(xq[1]), 0);
    if (strcmp(order, expected) != 0)
        fprintf(stderr, "%d against %d: %s\n", first, second, order);
    CHECK(strcmp(order, expected) == 0);
    close_queues(xq, hwq, 2);
}

static void the_higher_priority_goes_first(void)
{
    CHECK_EQ(xs.XHintSetScheduler(SCHEDULER_LOCAL, POLICY_HPF), 0);
    launch_order(10, 1, "aaabbb");
    launch_order(1, 10, "bbbaaa");
    launch_order(-255, 1000, "bbbaaa");
}

static void the_earlier_deadline_goes_first(void)
{
    XQueueHandle xq[2];
    HwQueueHandle hwq[2];
    CHECK_EQ(xs.XHintSetScheduler(SCHEDULER_LOCAL, POLICY_KEDF), 0);
    open_queues(xq, hwq, 2);
    CHECK_EQ(xs.XHintDeadline(xq[0], 1000000000), 0);
    CHECK_EQ(xs.XHintDeadline(xq[1], 1000), 0);
    submit(xq[0], wait_for_gate, "a", 1);
    submit(xq[0], launch, "a", 2);
    submit(xq[1], launch, "b", 3);
    CHECK_EQ(xs.XQueueWaitAll(xq[1]), 0);
    gate = true;
    CHECK_EQ(xs.XQueueWaitAll(xq[0]), 0);
    CHECK(strcmp(order, "bbbaaa") == 0);
    close_queues(xq, hwq, 2);
}

/* Both are lax. When the laxity of the first is over, it is the critical one. */
static void laxity_runs_out(void)
{
    XQueueHandle xq[2];
    HwQueueHandle hwq[2];
    CHECK_EQ(xs.XHintSetScheduler(SCHEDULER_LOCAL, POLICY_LAX), 0);
    open_queues(xq, hwq, 2);
    CHECK_EQ(xs.XHintLaxity(xq[0], 1000, 1, 20), 0);
    CHECK_EQ(xs.XHintLaxity(xq[1], 1000000000, 10, 10), 0);
    submit(xq[1], wait_for_gate, "b", 1);
    submit(xq[1], launch, "b", 2);
    submit(xq[0], launch, "a", 3);
    CHECK_EQ(xs.XQueueWaitAll(xq[0]), 0);
    gate = true;
    CHECK_EQ(xs.XQueueWaitAll(xq[1]), 0);
    CHECK(strcmp(order, "aaabbb") == 0);
    close_queues(xq, hwq, 2);
}

static void the_threshold_bounds_what_is_in_flight(void)
{
    XQueueHandle xq;
    HwQueueHandle hwq;
    int64_t count;
    int state;
    for (int threshold = 1; threshold <= 8; threshold++) {
        open_queues(&xq, &hwq, 1);
        CHECK_EQ(xs.XQueueSetLaunchConfig(xq, threshold, 1), 0);
        submit(xq, wait_for_gate, "a", 40);
        gate = true;
        CHECK_EQ(xs.XQueueWaitAll(xq), 0);
        CHECK_EQ(most_in_flight, threshold);
        CHECK_EQ(launched, 40);
        CHECK_EQ(xs.XQueueProfileHwCommandCount(xq, &count), 0);
        CHECK_EQ(count, 40);
        do /* it becomes idle a moment later */
            CHECK_EQ(xs.XQueueQuery(xq, &state), 0);
        while (state != QUEUE_IDLE);
        close_queues(&xq, &hwq, 1);
    }
}

static void suspended_means_that_nothing_is_launched(void)
{
    XQueueHandle xq;
    HwQueueHandle hwq;
    int state;
    CHECK_EQ(xs.XHintSetScheduler(SCHEDULER_APP, POLICY_UNKNOWN), 0);
    open_queues(&xq, &hwq, 1);
    CHECK_EQ(xs.XQueueSuspend(xq, SUSPEND_SYNC_HW_QUEUE), 0);
    submit(xq, launch, "a", 3);
    usleep(5000);
    CHECK_EQ(launched, 0);
    CHECK_EQ(xs.XQueueQuery(xq, &state), 0);
    CHECK_EQ(state, QUEUE_READY);
    CHECK_EQ(xs.XQueueResume(xq, 0), 0);
    CHECK_EQ(xs.XQueueWaitAll(xq), 0);
    CHECK_EQ(launched, 3);
    CHECK_EQ(xs.XQueueSuspend(xq, 0), 0);
    submit(xq, launch, "a", 20);
    close_queues(&xq, &hwq, 1); /* this waits for its commands */
    CHECK_EQ(launched, 23);
}

static void result_codes(void)
{
    XQueueHandle xq, again;
    HwQueueHandle hwq, twice;
    HwCommandHandle command;
    int state;
    open_queues(&xq, &hwq, 1);
    CHECK_EQ(xs.XHintSetScheduler(4, 0), PREEMPT_INVALID_VALUE);
    CHECK_EQ(xs.XHintSetScheduler(SCHEDULER_LOCAL, POLICY_END), PREEMPT_INVALID_VALUE);
    CHECK_EQ(xs.XHintPriority(1, 1), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.XHintUtilization(1, 1), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.XHintLaxity(1, 1, 1, 1), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.XHintDeadline(1, 1), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.XHintUtilization(xq, 50), 0);
    CHECK_EQ(xs.XHintTimeslice(5000), 0);
    CHECK_EQ(xs.XHintKDeadline(1), 0);
    CHECK_EQ(xs.XQueueCreate(&again, 1, 1, 0), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.XQueueCreate(&again, hwq, 1, CREATE_BLOCKING_SUBMIT), PREEMPT_NOT_SUPPORTED);
    CHECK_EQ(xs.XQueueCreate(&again, hwq, 1, 0), 0); /* the same one */
    CHECK_EQ(again, xq);
    CHECK_EQ(xs.NullQueueCreate(&twice, &streams[0]), 0);
    CHECK_EQ(twice, hwq);
    CHECK_EQ(xs.XQueueGet(&again, hwq), 0);
    CHECK_EQ(again, xq);
    CHECK_EQ(xs.XQueueGet(&again, 1), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.XQueueQuery(1, &state), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.XQueueWaitAll(1), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.XQueueSetPreemptLevel(xq, 2), PREEMPT_NOT_SUPPORTED);
    CHECK_EQ(xs.HwCommandCreateCallback(&command, launch, (void *)(uintptr_t)"a"), 0);
    CHECK_EQ(xs.XQueueSubmit(1, command), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.XQueueSubmit(xq, command), 0);
    CHECK_EQ(xs.XQueueSubmit(xq, command), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.XQueueWait(xq, command), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.HwCommandDestroy(command), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.HwCommandCreateCallback(&command, launch, NULL), 0);
    CHECK_EQ(xs.HwCommandDestroy(command), 0);
    CHECK_EQ(xs.HwCommandCreateCallback(&command, launch, (void *)(uintptr_t)"a"), 0);
    CHECK_EQ(xs.HwQueueLaunch(hwq, command), 0);
    CHECK_EQ(xs.HwQueueLaunch(hwq, command), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.HwQueueSynchronize(hwq), 0);
    CHECK_EQ(xs.HwQueueSynchronize(1), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.XQueueWaitAll(xq), 0);
    CHECK_EQ(launched, 2);
    close_queues(&xq, &hwq, 1);
    CHECK_EQ(xs.XQueueDestroy(xq), PREEMPT_NOT_FOUND);
    CHECK_EQ(xs.HwQueueDestroy(hwq), PREEMPT_NOT_FOUND);
}

/* ---- faults ---------------------------------------------------------------------------- */

/* What a process with a fault does: 40 commands, one at a time. */
static int with_fault(void)
{
    XQueueHandle xq;
    HwQueueHandle hwq;
    CHECK_EQ(xs.XHintSetScheduler(SCHEDULER_LOCAL, POLICY_HPF), 0);
    open_queues(&xq, &hwq, 1);
    submit(xq, launch, "a", 40);
    CHECK_EQ(xs.XQueueWaitAll(xq), 0);
    close_queues(&xq, &hwq, 1);
    return launched == 40 ? 0 : 9;
}

/* Return its status like a shell: 128 + signal. It is killed after 2 s. */
static int status_with(const char *fault)
{
    char variable[64], *arguments[] = {"test", "fault", NULL}, *variables[64] = {variable};
    pid_t pid;
    int status, count = 1;
    snprintf(variable, sizeof variable, "PREEMPT_DOUBLE=%s", fault);
    for (char **at = environ; *at != NULL && count < 63; at++)
        if (strncmp(*at, "XS_TEST_", 8) == 0 || strstr(*at, "SAN_OPTIONS") != NULL)
            variables[count++] = *at;
    CHECK_EQ(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, variables), 0);
    for (int i = 0; waitpid(pid, &status, WNOHANG) == 0; i++) {
        if (i == 200)
            kill(pid, SIGTERM);
        usleep(10000);
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void faults(void)
{
    static const struct {
        const char *name;
        int status;
    } table[] = {{"exit", 1},
                 {"abort", 128 + SIGABRT},
                 {"segv", 128 + SIGSEGV},
                 {"kill", 128 + SIGKILL},
                 {"exit:40", 1},
                 {"exit:41", 0},
                 {"callback", 1},
                 {"hang-callback", 128 + SIGTERM},
                 {"hang-destroy", 128 + SIGTERM},
                 {"hang-exit", 128 + SIGTERM},
                 {"crash-exit", 128 + SIGSEGV},
                 {"drop", 9},
                 {"inactive,never-resume,ignore-priority", 0},
                 {"crash-exit,exit", 128 + SIGSEGV},
                 {"unheard-of", 2}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int status = status_with(table[i].name);
        printf("%s: %d\n", table[i].name, status);
        CHECK_EQ(status, table[i].status);
    }
}

int main(int argc, char **argv)
{
    (void)argv;
    load();
    if (argc > 1)
        return with_fault();
    the_higher_priority_goes_first();
    the_earlier_deadline_goes_first();
    laxity_runs_out();
    the_threshold_bounds_what_is_in_flight();
    suspended_means_that_nothing_is_launched();
    result_codes();
    faults();
    return 0;
}

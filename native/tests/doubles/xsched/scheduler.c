/* scheduler.c - the schedulers and hints of the double: app-managed (no scheduler), local (a
 * policy decides at every edge of a queue and at every hint) and global (recorded only). HPF
 * is ours, also for HHPF; KEDF, LAX and UP are here; the other policies suspend no queue. The
 * thread that brings an event decides, not one of its own, so that a test sees decisions take
 * effect at once. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "faults.h"
#include "policies/policy.h"
#include "state.h"

#define QUEUE_MAX 256
#define NS_PER_US INT64_C(1000)
#define LONG_INVERSION_NS INT64_C(2000000000)
#define NS_PER_MS INT64_C(1000000)
#define UTILIZATION_MAX 100
#define TIRED_NS INT64_C(40000000)

static const char *const policy_names[POLICY_END] = {"UNK",  "HPF",  "HHPF", "CHPF", "UP",  "PUP",
                                                     "SPUP", "KEDF", "LAX",  "AWF",  "CFS", "MLFQ"};

static int scheduler = SCHEDULER_APP, policy = POLICY_UNKNOWN;
static bool was_switched_off;
static size_t k_deadline = 1;
static int64_t timeslice_ns = 5 * NS_PER_MS;
static struct {
    const struct queue *queue; /* whose turn it is; NULL: no one's */
    xs_ns end_ns;
} turn;

struct hints preempt_no_hints(void)
{
    struct hints none = {.deadline_ns = -1, .laxity_ns = -1, .utilization = UTILIZATION_MAX};
    return none;
}

/* ---- policies: which of queues[count] are suspended ---------------------------- */

static bool is_tired(const struct queue *q)
{
    return preempt_faults.tire && xs__clock_ns() - q->ready_ns > TIRED_NS;
}

static void decide_hpf(struct queue *const *queues, uint32_t count, bool *suspend)
{
    struct xs_queue_view views[QUEUE_MAX];
    memset(views, 0, sizeof views);
    for (uint32_t i = 0; i < count; i++) {
        views[i].priority = queues[i]->hints.priority;
        views[i].ready = queues[i]->ready && !is_tired(queues[i]);
    }
    xs_policy_hpf.decide(0, views, count, suspend);
    for (uint32_t i = 0; preempt_faults.equals_in_turn && i < count; i++)
        for (uint32_t j = 0; j < i; j++)
            suspend[i] |= views[j].ready && views[j].priority == views[i].priority;
}

/* For each device alone; that of a queue is its context. */
static void decide_hpf_by_device(struct queue *const *queues, uint32_t count, bool *suspend)
{
    struct queue *here[QUEUE_MAX] = {NULL};
    bool suspend_here[QUEUE_MAX], done[QUEUE_MAX] = {false};
    for (uint32_t first = 0; first < count; first++) {
        uint32_t found = 0, n = 0;
        for (uint32_t i = first; i < count && !done[first]; i++)
            if (queues[i]->hw->context == queues[first]->hw->context)
                here[found++] = queues[i];
        if (found > 0)
            decide_hpf(here, found, suspend_here);
        for (uint32_t i = first; i < count && n < found; i++)
            if (queues[i] == here[n]) {
                suspend[i] = suspend_here[n++];
                done[i] = true;
            }
    }
}

static xs_ns deadline_of(const struct queue *q)
{
    return q->hints.deadline_ns < 0 ? XS_NEVER : xs__later(q->ready_ns, q->hints.deadline_ns);
}

/* The k ready queues with the earliest deadlines run; ties: the older queue. */
static void decide_kedf(struct queue *const *queues, uint32_t count, bool *suspend)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t earlier = 0;
        for (uint32_t j = 0; j < count; j++) {
            xs_ns mine = deadline_of(queues[i]), other = deadline_of(queues[j]);
            bool is_before = preempt_faults.latest_first ? other > mine : other < mine;
            earlier += j != i && queues[j]->ready && (is_before || (other == mine && j < i));
        }
        suspend[i] = earlier >= k_deadline;
    }
}

static int32_t priority_under_lax(const struct queue *q, xs_ns now)
{
    bool is_lax = q->hints.laxity_ns >= 0 && now < xs__later(q->ready_ns, q->hints.laxity_ns);
    is_lax |= preempt_faults.always_lax;
    return is_lax ? q->hints.lax_priority : q->hints.critical_priority;
}

/* The ready queues whose priority is the highest right now run. */
static void decide_lax(struct queue *const *queues, uint32_t count, bool *suspend)
{
    xs_ns now = xs__clock_ns();
    int32_t top = INT32_MIN;
    for (uint32_t i = 0; i < count; i++)
        if (queues[i]->ready && priority_under_lax(queues[i], now) > top)
            top = priority_under_lax(queues[i], now);
    for (uint32_t i = 0; i < count; i++)
        suspend[i] = priority_under_lax(queues[i], now) < top;
}

/* Return the ready queue that follows the one whose turn it is, in the order of their creation;
 * NULL: none is ready. */
static const struct queue *next_in_turn(struct queue *const *queues, uint32_t count)
{
    uint32_t at = 0;
    while (at < count && queues[at] != turn.queue)
        at++;
    for (uint32_t i = 1; i <= count; i++)
        if (queues[(at + i) % count]->ready)
            return queues[(at + i) % count];
    return NULL;
}

/* A round takes the timeslice. Each ready queue gets a part of it, by its utilization. */
static void decide_up(struct queue *const *queues, uint32_t count, bool *suspend)
{
    xs_ns now = xs__clock_ns();
    int64_t sum = 0;
    bool goes_on = false;
    for (uint32_t i = 0; i < count; i++) {
        sum += queues[i]->ready ? queues[i]->hints.utilization : 0;
        goes_on |= queues[i] == turn.queue && queues[i]->ready && now < turn.end_ns;
    }
    if (!goes_on) {
        turn.queue = count > 0 ? next_in_turn(queues, count) : NULL;
        if (turn.queue != NULL)
            turn.end_ns = now + timeslice_ns * turn.queue->hints.utilization / sum;
    }
    for (uint32_t i = 0; i < count; i++)
        suspend[i] = turn.queue != NULL && queues[i] != turn.queue;
}

static void decide_nothing(struct queue *const *queues, uint32_t count, bool *suspend)
{
    memset(suspend, 0, count * sizeof *suspend);
    for (uint32_t i = 0; preempt_faults.no_turns && i < count; i++)
        for (uint32_t j = 0; j < i; j++)
            suspend[i] |= queues[j]->ready;
}

/* ---- events of the queues ------------------------------------------------------ */

/* Queues of lower priority that stay suspended, by a fault. */
static struct kept {
    int32_t priority;
    xs_ns until;
} kept;

static bool is_kept(const struct queue *q)
{
    return q->hints.priority < kept.priority && xs__clock_ns() < kept.until;
}

void preempt_set_suspended(struct queue *q, bool suspended)
{
    if (!suspended && (preempt_faults.never_resume || q->stuck))
        return;
    if (q->xqueue.suspended && !suspended) {
        q->resumed = true;
        q->resumed_ns = xs__clock_ns();
    }
    q->owes = suspended;
    q->xqueue.suspended = suspended;
    if (q->ready) /* a thread without work has nothing to do about it */
        pthread_cond_broadcast(&q->changed);
}

void preempt_schedule(void)
{
    struct queue *queues[QUEUE_MAX] = {NULL};
    bool suspend[QUEUE_MAX];
    uint32_t count = 0;
    if (scheduler != SCHEDULER_LOCAL)
        return;
    for (struct queue *q = preempt_queues; q != NULL; q = q->next) {
        if (count == QUEUE_MAX)
            preempt_log("ERRO", "Assertion failed: more than %d XQueues", QUEUE_MAX);
        queues[count++] = q;
    }
    bool by_device = !preempt_faults.one_device;
    (policy == POLICY_HPF    ? (by_device ? decide_hpf_by_device : decide_hpf)
     : policy == POLICY_HHPF ? decide_hpf
     : policy == POLICY_UP   ? decide_up
     : policy == POLICY_KEDF ? decide_kedf
     : policy == POLICY_LAX  ? decide_lax
                             : decide_nothing)(queues, count, suspend);
    for (uint32_t i = 0; i < count; i++)
        if (queues[i]->xqueue.suspended != suspend[i] && (suspend[i] || !is_kept(queues[i])))
            preempt_set_suspended(queues[i], suspend[i]);
    for (uint32_t i = 0; preempt_faults.wake_all && i < count; i++)
        pthread_cond_broadcast(&queues[i]->changed);
}

bool preempt_ticks(void)
{
    return policy == POLICY_LAX || policy == POLICY_UP || preempt_faults.long_inversion ||
           preempt_faults.tire || preempt_faults.hang_destroy_below;
}

void preempt_tick(void)
{
    if (policy == POLICY_LAX || policy == POLICY_UP)
        preempt_schedule();
}

static bool is_between(const struct queue *q)
{
    bool above = false, below = false;
    for (const struct queue *other = preempt_queues; other != NULL; other = other->next) {
        above |= other->hints.priority > q->hints.priority;
        below |= other->hints.priority < q->hints.priority;
    }
    return above && below;
}

/* The faults "circular-wait" and "long-inversion": what ends between two others in priority
 * keeps those below it, until one above it gets work, or for 2 s. */
static void keep_those_below(const struct queue *q)
{
    if (q->ready && q->hints.priority > kept.priority)
        kept.until = 0;
    else if (!q->ready && is_between(q))
        kept = (struct kept){
            .priority = q->hints.priority,
            .until = preempt_faults.circular_wait ? XS_NEVER : xs__clock_ns() + LONG_INVERSION_NS};
}

void preempt_set_ready(struct queue *q, bool ready)
{
    if (q->ready == ready)
        return;
    q->ready = ready;
    q->ready_ns = xs__clock_ns();
    if (preempt_faults.circular_wait || preempt_faults.long_inversion)
        keep_those_below(q);
    if (!ready || !preempt_faults.late_preemption)
        preempt_schedule();
}

/* ---- setting the policy ---------------------------------------------------------- */

static void say(void)
{
    if (scheduler == SCHEDULER_LOCAL)
        preempt_log("INFO", "using local scheduler with policy %s", policy_names[policy]);
    else
        preempt_log("INFO", "using %s scheduler",
                    scheduler == SCHEDULER_APP ? "app-managed" : "global");
}

/* A change forgets all hints. */
static void choose(int to_scheduler, int to_policy)
{
    if (to_policy == POLICY_SPUP)
        preempt_log("ERRO", "Assertion failed: there is no policy SPUP");
    if (preempt_faults.off_for_good && was_switched_off)
        return;
    was_switched_off = scheduler == SCHEDULER_LOCAL && to_scheduler == SCHEDULER_APP;
    scheduler = to_scheduler;
    policy = to_policy;
    for (struct queue *q = preempt_queues; q != NULL; q = q->next) {
        q->hints = preempt_no_hints();
        q->stuck = preempt_faults.policy_keeps && q->xqueue.suspended && !q->stuck;
        if (!preempt_faults.off_holds)
            preempt_set_suspended(q, false);
    }
    say();
}

static bool same(const char *a, const char *b)
{
    return (preempt_faults.ignore_case ? strcasecmp(a, b) : strcmp(a, b)) == 0;
}

/* XSCHED_POLICY makes it local; "LCL" without a policy, and unknown names, do nothing. */
__attribute__((constructor)) static void read_environment(void)
{
    const char *kind = getenv("XSCHED_SCHEDULER"), *name = getenv("XSCHED_POLICY");
    for (int i = 1; name != NULL && i < POLICY_END; i++)
        if (same(name, policy_names[i])) {
            choose(SCHEDULER_LOCAL, i);
            return;
        }
    if (kind != NULL && same(kind, "GLB"))
        scheduler = SCHEDULER_GLOBAL;
    say();
}

/* A policy makes it local, even if the caller wanted another scheduler; (local, unknown)
 * changes nothing. */
int XHintSetScheduler(int to_scheduler, int to_policy)
{
    if (to_scheduler < SCHEDULER_APP || to_scheduler > SCHEDULER_GLOBAL || to_policy < 0 ||
        to_policy >= POLICY_END) {
        preempt_log("WARN", "there is no scheduler %d or no policy %d", to_scheduler, to_policy);
        return PREEMPT_INVALID_VALUE;
    }
    pthread_mutex_lock(&preempt_lock);
    if (to_policy != POLICY_UNKNOWN)
        to_scheduler = SCHEDULER_LOCAL;
    if (preempt_faults.other_policy && to_policy != POLICY_UNKNOWN)
        to_policy = to_policy == POLICY_HPF ? POLICY_KEDF : POLICY_HPF;
    if (preempt_faults.inactive)
        say();
    else if ((to_scheduler != scheduler || to_policy != policy) &&
             (to_scheduler != SCHEDULER_LOCAL || to_policy != POLICY_UNKNOWN))
        choose(to_scheduler, to_policy);
    pthread_mutex_unlock(&preempt_lock);
    return PREEMPT_SUCCESS;
}

/* ---- hints ------------------------------------------------------------------------- */

/* Unlock after a hint that `q` (NULL: unknown) got, and which may change which queue runs. */
static int take_effect(const struct queue *q)
{
    if (q != NULL)
        preempt_schedule();
    pthread_mutex_unlock(&preempt_lock);
    return q != NULL ? PREEMPT_SUCCESS : PREEMPT_NOT_FOUND;
}

/* Return where to write a hint, with the lock held, or NULL: without a policy, no hint is
 * kept. */
static struct hints *lock_hints(XQueueHandle xq, struct queue **q)
{
    pthread_mutex_lock(&preempt_lock);
    *q = preempt_find(xq);
    bool kept = *q != NULL && scheduler == SCHEDULER_LOCAL && !preempt_faults.ignore_priority;
    return kept ? &(*q)->hints : NULL;
}

int XHintPriority(XQueueHandle xq, int32_t priority)
{
    struct queue *q;
    bool slow = preempt_faults.crash_hint_beside_destroy;
    for (int i = 0; slow && preempt_destroying == 0 && i < 20; i++)
        usleep(5000); /* so that another thread gets to XQueueDestroy() */
    struct hints *hints = lock_hints(xq, &q);
    if (preempt_faults.crash_hint_beside_destroy && preempt_destroying > 0)
        raise(SIGSEGV);
    if (priority < XS_PRIORITY_MIN || priority > XS_PRIORITY_MAX)
        preempt_log("WARN", "priority %d is out of range", priority);
    if (hints != NULL && !(preempt_faults.hint_late && hints->has_priority)) {
        hints->priority = priority < XS_PRIORITY_MIN   ? XS_PRIORITY_MIN
                          : priority > XS_PRIORITY_MAX ? XS_PRIORITY_MAX
                                                       : priority;
        bool is_border = hints->priority == XS_PRIORITY_MIN || hints->priority == XS_PRIORITY_MAX;
        if (preempt_faults.hint_border && is_border)
            hints->priority = 0;
        hints->has_priority = true;
    }
    return take_effect(q);
}

/* Out of range: as without a hint. */
int XHintUtilization(XQueueHandle xq, int32_t utilization)
{
    struct queue *q;
    struct hints *hints = lock_hints(xq, &q);
    bool fits = utilization > 0 && utilization <= UTILIZATION_MAX;
    if (hints != NULL && !(preempt_faults.utilization_late && hints->has_utilization)) {
        hints->utilization = fits ? utilization : UTILIZATION_MAX;
        hints->has_utilization = true;
    }
    return take_effect(q);
}

int XHintTimeslice(int64_t timeslice_us)
{
    pthread_mutex_lock(&preempt_lock);
    timeslice_ns = timeslice_us * NS_PER_US;
    pthread_mutex_unlock(&preempt_lock);
    return PREEMPT_SUCCESS;
}

int XHintLaxity(XQueueHandle xq, int64_t laxity_us, int32_t lax_priority, int32_t critical_priority)
{
    struct queue *q;
    struct hints *hints = lock_hints(xq, &q);
    if (hints != NULL && !(preempt_faults.laxity_late && hints->laxity_ns >= 0)) {
        hints->laxity_ns = laxity_us < 0 ? -1 : laxity_us * NS_PER_US;
        hints->lax_priority = lax_priority;
        hints->critical_priority = critical_priority;
    }
    return take_effect(q);
}

int XHintDeadline(XQueueHandle xq, int64_t deadline_us)
{
    struct queue *q;
    struct hints *hints = lock_hints(xq, &q);
    bool none = deadline_us < 0 || (preempt_faults.deadline_border && deadline_us <= 1);
    if (hints != NULL && !(preempt_faults.deadline_late && hints->deadline_ns >= 0))
        hints->deadline_ns = !none                              ? deadline_us * NS_PER_US
                             : preempt_faults.deadline_constant ? 0
                                                                : -1;
    return take_effect(q);
}

int XHintKDeadline(size_t k)
{
    pthread_mutex_lock(&preempt_lock);
    if (k > 0)
        k_deadline = k;
    preempt_schedule();
    pthread_mutex_unlock(&preempt_lock);
    return PREEMPT_SUCCESS;
}

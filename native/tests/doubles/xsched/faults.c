/* faults.c - see faults.h. */
#include "faults.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "preempt.h"

#define DROPPED 7

static unsigned nth = 20; /* so that the start succeeds */
struct faults preempt_faults;

/* bench/find_faults.py reads the names from here. */
static const struct {
    const char *name;
    bool *flag;
} table[] = {
    {"exit", &preempt_faults.exits},
    {"abort", &preempt_faults.aborts},
    {"segv", &preempt_faults.segfaults},
    {"kill", &preempt_faults.is_killed},
    {"oom", &preempt_faults.out_of_memory},
    {"hang-callback", &preempt_faults.hangs},
    {"callback", &preempt_faults.callback_fails},
    {"hang-submit", &preempt_faults.hang_submit},
    {"hang-destroy", &preempt_faults.hang_destroy},
    {"hang-exit", &preempt_faults.hang_exit},
    {"crash-exit", &preempt_faults.crash_exit},
    {"ignore-priority", &preempt_faults.ignore_priority},
    {"never-resume", &preempt_faults.never_resume},
    {"inactive", &preempt_faults.inactive},
    {"drop", &preempt_faults.drop},
    {"poll", &preempt_faults.poll},
    {"ticks", &preempt_faults.ticks},
    {"wake-all", &preempt_faults.wake_all},
    {"slow-suspend", &preempt_faults.slow_suspend},
    {"keep-memory", &preempt_faults.keep_memory},
    {"keep-queues", &preempt_faults.keep_queues},
    {"large-commands", &preempt_faults.large_commands},
    {"fork-hangs", &preempt_faults.fork_hangs},
    {"fork-exit", &preempt_faults.fork_exit},
    {"exec-hangs", &preempt_faults.exec_hangs},
    {"exec-loses", &preempt_faults.exec_loses},
    {"exit-pending", &preempt_faults.exit_pending},
    {"exit-status", &preempt_faults.exit_status},
    {"pid-namespace", &preempt_faults.pid_namespace},
    {"server-gone", &preempt_faults.server_gone},
    {"server-kills", &preempt_faults.server_kills},
    {"server-back", &preempt_faults.server_back},
    {"server-dies", &preempt_faults.server_dies},
    {"outside-hint-lost", &preempt_faults.outside_hint_lost},
    {"hang-destroy-below", &preempt_faults.hang_destroy_below},
    {"tire", &preempt_faults.tire},
    {"hang-wait-beside-destroy", &preempt_faults.hang_wait_beside_destroy},
    {"crash-hint-beside-destroy", &preempt_faults.crash_hint_beside_destroy},
    {"hang-two-suspends", &preempt_faults.hang_two_suspends},
    {"lose-during-config", &preempt_faults.lose_during_config},
    {"long-command", &preempt_faults.long_command},
    {"suspend-beside-launch", &preempt_faults.suspend_beside_launch},
    {"inherit-hints", &preempt_faults.inherit_hints},
    {"hint-late", &preempt_faults.hint_late},
    {"hint-border", &preempt_faults.hint_border},
    {"deadline-late", &preempt_faults.deadline_late},
    {"deadline-border", &preempt_faults.deadline_border},
    {"deadline-constant", &preempt_faults.deadline_constant},
    {"laxity-late", &preempt_faults.laxity_late},
    {"utilization-late", &preempt_faults.utilization_late},
    {"one-device", &preempt_faults.one_device},
    {"policy-keeps", &preempt_faults.policy_keeps},
    {"ignore-case", &preempt_faults.ignore_case},
    {"threshold-plus-one", &preempt_faults.threshold_plus_one},
    {"reorder", &preempt_faults.reorder},
    {"twice", &preempt_faults.twice},
    {"count-falls", &preempt_faults.count_falls},
    {"lose-at-config", &preempt_faults.lose_at_config},
    {"lose-at-resume", &preempt_faults.lose_at_resume},
    {"lost-wakeup", &preempt_faults.lost_wakeup},
    {"slow-resume", &preempt_faults.slow_resume},
    {"late-preemption", &preempt_faults.late_preemption},
    {"equals-in-turn", &preempt_faults.equals_in_turn},
    {"latest-first", &preempt_faults.latest_first},
    {"always-lax", &preempt_faults.always_lax},
    {"no-turns", &preempt_faults.no_turns},
    {"other-policy", &preempt_faults.other_policy},
    {"destroyed-holds", &preempt_faults.destroyed_holds},
    {"off-holds", &preempt_faults.off_holds},
    {"off-for-good", &preempt_faults.off_for_good},
    {"one-more", &preempt_faults.one_more},
    {"suspends-add-up", &preempt_faults.suspends_add_up},
    {"idle-spin", &preempt_faults.idle_spin},
    {"hang-config", &preempt_faults.hang_config},
    {"crash-destroy", &preempt_faults.crash_destroy},
    {"few-queues", &preempt_faults.few_queues},
    {"circular-wait", &preempt_faults.circular_wait},
    {"long-inversion", &preempt_faults.long_inversion},
};

#define VICE_COUNT (sizeof table / sizeof table[0])

static void turn_on(char *name)
{
    char *colon = strchr(name, ':');
    if (colon != NULL) {
        *colon = '\0';
        nth = (unsigned)strtoul(colon + 1, NULL, 10);
    }
    for (size_t i = 0; i < VICE_COUNT; i++)
        if (strcmp(table[i].name, name) == 0) {
            *table[i].flag = true;
            return;
        }
    fprintf(stderr, "PREEMPT_DOUBLE knows no fault with the name \"%s\"\n", name);
    _exit(2);
}

/* Before the constructor of scheduler.c, which asks for them. */
__attribute__((constructor(101))) static void read_faults(void)
{
    const char *text = getenv("PREEMPT_DOUBLE");
    char *names = strdup(text != NULL ? text : ""), *rest = names;
    for (char *name = strtok_r(names, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest))
        turn_on(name);
    free(names);
}

/* Die as without a handler, even if the program has set one. */
static void die_of(int signal_number)
{
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* Do what a C++ program does when `new` gets no memory. */
static void run_out_of_memory(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = 1;
    setrlimit(RLIMIT_AS, &limit);
    while (malloc(1 << 20) != NULL)
        ;
    fputs("terminate called after throwing an instance of 'std::bad_alloc'\n"
          "  what():  std::bad_alloc\n",
          stderr);
    die_of(SIGABRT);
}

static void hang(void)
{
    for (;;)
        pause();
}

bool preempt_fault_allows(unsigned n)
{
    if (n == nth) {
        if (preempt_faults.exits)
            preempt_log("ERRO", "Assertion failed: the driver answers 700 to a synchronize");
        if (preempt_faults.aborts)
            die_of(SIGABRT);
        if (preempt_faults.segfaults)
            die_of(SIGSEGV);
        if (preempt_faults.is_killed)
            raise(SIGKILL);
        if (preempt_faults.out_of_memory)
            run_out_of_memory();
        if (preempt_faults.hangs)
            hang();
        if (preempt_faults.callback_fails)
            preempt_log("ERRO", "Assertion failed: a launch callback returned 1");
    }
    return !preempt_faults.drop || n % DROPPED != 0;
}

void preempt_fault_after_submit(uint64_t n)
{
    if (preempt_faults.hang_submit && n == nth)
        hang();
}

__attribute__((destructor)) static void end(void)
{
    if (preempt_faults.hang_exit)
        hang();
    if (preempt_faults.crash_exit)
        die_of(SIGSEGV);
}

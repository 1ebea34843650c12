/* faults.h - what the double does badly: PREEMPT_DOUBLE, a list of names with commas
 * between them. An unknown name ends the process, so that no test passes by mistake.
 * "exit:500" is the same at the 500th callback of the process instead of the 20th. */
#ifndef XS_PREEMPT_FAULTS_H
#define XS_PREEMPT_FAULTS_H

#include <stdbool.h>

struct faults {
    /* A launch thread, instead of the 20th callback: */
    bool exits;          /* "exit": fails an assertion, which is exit(1) */
    bool aborts;         /* "abort" */
    bool segfaults;      /* "segv" */
    bool is_killed;      /* "kill": SIGKILL, as from the kernel that is out of memory */
    bool out_of_memory;  /* "oom": memory can no longer be allocated */
    bool hangs;          /* "hang-callback": stands still for ever */
    bool callback_fails; /* "callback": takes it to have returned 1 */
    /* The rest is what the name says. */
    bool hang_destroy;    /* "hang-destroy": XQueueDestroy() never returns */
    bool hang_exit;       /* "hang-exit": the process never ends */
    bool crash_exit;      /* "crash-exit": SIGSEGV when the process ends */
    bool ignore_priority; /* "ignore-priority": hints are dropped */
    bool never_resume;    /* "never-resume": who is suspended stays so */
    bool inactive;        /* "inactive": a scheduler is accepted and not set */
    bool drop;            /* "drop": every 7th command is not launched, and counts */
};

extern struct faults preempt_faults;

/* Before the n-th callback of a process, n from 1; false: leave it out. */
bool preempt_fault_allows(unsigned n);

#endif

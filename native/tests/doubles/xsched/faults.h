/* faults.h - the faults of the double: PREEMPT_DOUBLE is a list of names with commas between
 * them. An unknown name ends the process, so that no test passes by mistake. "exit:500" has
 * the same effect at the 500th callback of each queue instead of the 20th. */
#ifndef XS_PREEMPT_FAULTS_H
#define XS_PREEMPT_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

struct faults {
    /* What a launch thread does instead of the 20th callback: */
    bool exits;          /* "exit": fails an assertion, which is exit(1) */
    bool aborts;         /* "abort" */
    bool segfaults;      /* "segv" */
    bool is_killed;      /* "kill": SIGKILL, as from a kernel without memory */
    bool out_of_memory;  /* "oom": memory can no longer be allocated */
    bool hangs;          /* "hang-callback": never returns */
    bool callback_fails; /* "callback": behaves as if it had returned 1 */
    bool hang_submit;    /* "hang-submit": the 20th XQueueSubmit() of a queue never returns */
    /* The names of the others say what they do. */
    bool hang_destroy;    /* "hang-destroy": XQueueDestroy() never returns */
    bool hang_exit;       /* "hang-exit": the process never ends */
    bool crash_exit;      /* "crash-exit": SIGSEGV when the process ends */
    bool ignore_priority; /* "ignore-priority": hints are dropped */
    bool never_resume;    /* "never-resume": a suspended queue stays suspended */
    bool inactive;        /* "inactive": a scheduler is accepted and not set */
    bool drop;            /* "drop": every 7th command is not launched, and counts */
    bool poll;            /* "poll": a thread polls for some ms after its queue has become idle */
    bool ticks;           /* "ticks": a thread without work wakes up each millisecond */
    bool wake_all;        /* "wake-all": each decision wakes the threads of all queues */
    bool slow_suspend;    /* "slow-suspend": XQueueSuspend() takes 200 ms */
    bool keep_memory;     /* "keep-memory": that of a command is not given back */
    bool keep_queues;     /* "keep-queues": the memory of a destroyed queue is not given back */
    bool large_commands;  /* "large-commands": each takes 64 KiB until it was launched */
    bool inherit_hints;   /* "inherit-hints": a new queue has the hints of one that was destroyed */
    bool hint_late;       /* "hint-late": a hint that a queue has is never changed */
    bool hint_border;   /* "hint-border": the highest and the lowest priority are taken for none */
    bool deadline_late; /* "deadline-late": a deadline that a queue has is never changed */
    bool deadline_border;   /* "deadline-border": the shortest deadline is taken for none */
    bool deadline_constant; /* "deadline-constant": NO_DEADLINE is taken for a deadline of 0 */
    bool laxity_late;       /* "laxity-late": a laxity that a queue has is never changed */
    bool utilization_late;  /* "utilization-late": the same of a utilization */
    bool one_device;        /* "one-device": a queue is suspended for one on another device */
    bool policy_keeps; /* "policy-keeps": what a change of policy finds suspended stays so until the
                          next */
    bool ignore_case;  /* "ignore-case": names of schedulers and policies in the environment may be
                        * in any case, as in the versions after 1.2; no fault */
    /* Their names are the same, with hyphens: */
    bool threshold_plus_one; /* one more command is in flight */
    bool reorder;            /* a resume swaps the first two waiting commands */
    bool twice;              /* every 7th command is launched twice */
    bool count_falls;        /* the count of commands begins anew at 50 */
    bool lose_at_config;     /* a new launch configuration drops what waits */
    bool lose_at_resume;     /* the first command after a resume is skipped */
    bool lost_wakeup;        /* a submit does not wake an idle queue next to a busy one */
    bool slow_resume;        /* a resumed queue launches nothing for 300 ms */
    bool late_preemption;    /* a queue that gets work suspends none */
    bool equals_in_turn;     /* of queues with equal priority one runs */
    bool latest_first;       /* the latest deadline goes first */
    bool always_lax;         /* laxity never ends */
    bool no_turns;           /* where queues have turns or shares, one runs */
    bool other_policy;       /* another policy than the chosen one is set */
    bool destroyed_holds;    /* a queue destroyed with work holds others */
    bool off_holds;          /* queues stay suspended without the scheduler */
    bool off_for_good;       /* a scheduler that was switched off cannot be set again */
    bool one_more;           /* a suspended queue launches one more command */
    bool suspends_add_up;    /* each suspend needs a resume */
    bool idle_spin;          /* a thread without work spins */
    bool hang_config;        /* a new launch configuration hangs where work is */
    bool crash_destroy;      /* SIGSEGV when a queue with work is destroyed */
    bool few_queues;         /* no more than three queues can be created */
    bool circular_wait;      /* what ends between two others keeps those below it */
    bool long_inversion;     /* the same, for 2 s */
    /* Likewise; what a shim does to processes (process.c): */
    bool fork_hangs;        /* a forked child hangs when it launches */
    bool fork_exit;         /* a forked child never ends */
    bool exec_hangs;        /* hangs when the process becomes another program */
    bool exec_loses;        /* programs that the process becomes or starts have no shim */
    bool exit_pending;      /* a process with pending work never ends */
    bool exit_status;       /* a process with pending work ends with exit status 1 */
    bool pid_namespace;     /* hangs if the server knows the process by another id */
    bool server_gone;       /* hangs when the server ends */
    bool server_kills;      /* exit(1) when the server ends */
    bool server_back;       /* never connects again */
    bool server_dies;       /* the server aborts when a process ends (xserver.py) */
    bool outside_hint_lost; /* the server takes a hint and changes nothing (xserver.py) */
    /* Likewise; they show only next to a load that does not end: */
    bool hang_destroy_below; /* destroying a queue waits while the policy suspends it */
    bool tire;               /* after 40 ms of work, a queue has no priority any more */
    /* Likewise; they show only where calls of several threads overlap: */
    bool hang_wait_beside_destroy;  /* who waits for a queue while another one is destroyed */
    bool crash_hint_beside_destroy; /* SIGSEGV at a hint while a queue is destroyed */
    bool hang_two_suspends;         /* two suspends at once do not return */
    bool lose_during_config; /* a command that comes while a new configuration waits is lost */
    /* Likewise; it shows only with commands that take long: */
    bool long_command; /* who waits for a command takes it for complete after 20 ms */
    /* Likewise; it shows only with launch callbacks that take long: */
    bool suspend_beside_launch; /* a suspend does not wait for the callback that executes */
};

extern struct faults preempt_faults;

/* Called before the n-th callback of a queue, n from 1; false: skip it. */
bool preempt_fault_allows(unsigned n);

/* Called without a lock after the n-th command of a queue was submitted, n from 1. */
void preempt_fault_after_submit(uint64_t n);

#endif

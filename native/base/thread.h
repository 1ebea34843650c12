/* thread.h - names of threads. A new thread has the name of the thread that created it, so the
 * threads of a library can be found among all others: /proc/self/task/TID/comm. */
#ifndef XS_THREAD_H
#define XS_THREAD_H

/* Names have at most 15 characters; pytest_xsched/system/scheduler_cost.py looks for these. */
#define XS_QUEUE_THREAD "xs-queue"         /* drives a queue */
#define XS_SCHEDULER_THREAD "xs-scheduler" /* was made by the scheduler below the runner */

struct xs_thread_name {
    char text[16];
};

/* Name the calling thread, and return its old name. */
struct xs_thread_name xs__thread_rename(const char *name);

#endif

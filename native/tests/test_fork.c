/* test_fork.c - in a forked child, every call on the parent's device, run or queue returns
 * XS_EFORKED, closing does nothing, and a new device works. Not on GPUs: their drivers do not
 * survive a fork, so they run in workers. */
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

static void child(const char *kind, struct xs_device *dev, struct scenario *s)
{
    struct xs_error err = {0};
    struct xs_device_info info;
    struct xs_run *run;
    struct xs_queue_counts counts;
    struct scenario fresh;
    uint64_t ticket;
    alarm(30); /* a hang fails, too */
    CHECK_EQ(xs_device_describe(dev, &info, &err), XS_EFORKED);
    CHECK(strstr(err.message, "fork") != NULL);
    CHECK_EQ(xs_run_open(dev, "hpf", &run, &err), XS_EFORKED);
    CHECK_EQ(xs_run_wait(s->run, 50 * MS, &err), XS_EFORKED);
    CHECK_EQ(xs_run_now(s->run), 0);
    CHECK_EQ(xs_queue_counts(s->low, &counts, &err), XS_EFORKED);
    CHECK_EQ(xs_queue_suspend(s->low, &err), XS_EFORKED);
    CHECK_EQ(xs_queue_set_priority(s->low, 3, &err), XS_EFORKED);
    CHECK_EQ(xs_queue_submit(s->low, NULL, 0, &ticket, &err), XS_EFORKED);
    xs_run_stop(s->run);
    xs_queue_destroy(s->low);
    xs_run_close(s->run);
    xs_device_close(dev);

#ifndef __SANITIZE_THREAD__ /* it refuses new threads after a fork */
    dev = open_device(kind);
    CHECK_EQ(scenario_start(&fresh, dev, "hpf", spin(1000), spin(1000), 5 * MS, &err), XS_OK);
    CHECK_EQ(wait_run(fresh.run, &err), XS_OK);
    scenario_close(&fresh);
    xs_device_close(dev);
#else
    (void)kind;
    (void)fresh;
#endif
    _exit(0);
}

static void forks_in_the_middle(const char *kind)
{
    struct scenario s;
    struct xs_error err = {0};
    struct xs_device *dev = open_device(kind);
    int status;
    CHECK_EQ(scenario_start(&s, dev, "hpf", spin(1000), spin(10000), 200 * MS, &err), XS_OK);
    usleep(20000); /* no thread is being created, as a sanitizer locks that */
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        child(kind, dev, &s);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    CHECK_EQ(wait_run(s.run, &err), XS_OK); /* the parent continues undisturbed */
    scenario_close(&s);
    xs_device_close(dev);
}

int main(void)
{
    forks_in_the_middle("cpu");
    forks_in_the_middle("sim");
    return 0;
}

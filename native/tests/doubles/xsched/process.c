/* process.c - what the shims of the double do to their process: they count pending work, know
 * whether the process was forked, and talk to the server of PREEMPT_DOUBLE_SERVER (a socket's
 * path; xserver.py) if the scheduler is global. A shim passes each launch on as soon as the
 * server allows it, so that the work is pending in the driver. */
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "faults.h"
#include "process.h"

#define ANSWER_MS 5000
#define MARK "PREEMPT_DOUBLE_LOADED"

static bool is_child, was_connected;
static long pending; /* launches since the last wait; programs launch from one thread */
static int server = -1;

static void hang(void)
{
    for (;;)
        pause();
}

/* ---- the server ------------------------------------------------------------------------ */

static void disconnect(void)
{
    if (server >= 0)
        close(server);
    server = -1;
}

/* Read "PID": the server schedules this process, and knows it by this id. */
static bool is_accepted(void)
{
    char text[32];
    struct pollfd answer = {.fd = server, .events = POLLIN};
    if (poll(&answer, 1, ANSWER_MS) != 1)
        return false;
    ssize_t got = read(server, text, sizeof text - 1);
    if (got <= 0)
        return false;
    text[got] = '\0';
    if (preempt_faults.pid_namespace && atoi(text) != getpid())
        hang(); /* waits for an answer to its own id */
    return true;
}

static void tell(const char *line)
{
    send(server, line, strlen(line), MSG_NOSIGNAL); /* the next answer shows whether it has ended */
}

static void tell_priority(void)
{
    char line[32];
    const char *priority = getenv("XSCHED_AUTO_XQUEUE_PRIORITY");
    snprintf(line, sizeof line, "%d\n", priority != NULL ? atoi(priority) : 0);
    tell(line);
}

static void connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server >= 0 && connect(server, (struct sockaddr *)&address, sizeof address) == 0 &&
        is_accepted()) {
        was_connected = true;
        tell_priority();
        return;
    }
    disconnect();
    if (!was_connected)
        preempt_log("ERRO", "Assertion failed: no server answers at %s", path);
}

/* Wait until the server lets this process launch; return false if it ends. */
static bool may_launch(void)
{
    char allowed;
    tell("launch\n");
    return recv(server, &allowed, 1, 0) == 1;
}

static void ask_server(void)
{
    const char *path = getenv("PREEMPT_DOUBLE_SERVER"), *kind = getenv("XSCHED_SCHEDULER");
    if (path == NULL || kind == NULL || strcmp(kind, "GLB") != 0)
        return;
    if (server < 0 && !(was_connected && preempt_faults.server_back))
        connect_to(path);
    if (server < 0 || may_launch())
        return;
    disconnect();
    if (preempt_faults.server_gone)
        hang();
    if (preempt_faults.server_kills)
        preempt_log("ERRO", "Assertion failed: the server has gone");
}

/* ---- the calls of the program ---------------------------------------------------------- */

void preempt_before_launch(void)
{
    if (is_child && preempt_faults.fork_hangs)
        hang();
    ask_server();
    pending++;
}

void preempt_after_wait(void)
{
    if (server >= 0)
        tell("idle\n");
    pending = 0;
}

/* ---- begin and end --------------------------------------------------------------------- */

static void begin_child(void)
{
    is_child = true;
    pending = 0;
    disconnect();
    was_connected = false;
}

/* After the constructor of faults.c. */
__attribute__((constructor(102))) static void begin(void)
{
    const char *mark = getenv(MARK);
    char self[16];
    pthread_atfork(NULL, NULL, begin_child);
    if (preempt_faults.exec_loses)
        unsetenv("LD_PRELOAD");
    if (!preempt_faults.exec_hangs)
        return;
    if (mark != NULL && atoi(mark) == getpid()) /* loaded in this process before */
        hang();
    snprintf(self, sizeof self, "%d", (int)getpid());
    setenv(MARK, self, 1);
}

__attribute__((destructor)) static void end(void)
{
    if (is_child && preempt_faults.fork_exit)
        hang();
    if (pending > 0 && preempt_faults.exit_pending)
        hang();
    if (pending > 0 && preempt_faults.exit_status)
        _exit(1);
}

/* log.c - lines on stderr in the form of XSched's. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "preempt.h"

static const char *const levels[] = {"DEBG", "INFO", "WARN", "ERRO"};

enum {
    LEVEL_COUNT = sizeof levels / sizeof levels[0],
    DEFAULT_LEVEL = 1
};

static int rank(const char *level)
{
    for (int i = 0; level != NULL && i < LEVEL_COUNT; i++)
        if (strcmp(levels[i], level) == 0)
            return i;
    return DEFAULT_LEVEL;
}

void preempt_log(const char *level, const char *format, ...)
{
    char text[512], clock[16];
    time_t now = time(NULL);
    struct tm local;
    va_list values;
    bool fatal = strcmp(level, "ERRO") == 0;
    if (!fatal && rank(level) < rank(getenv("XLOG_LEVEL")))
        return;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    strftime(clock, sizeof clock, "%T", localtime_r(&now, &local));
    fprintf(stderr, "[XSCHED %s @ T %ld @ %s.000000] %s\n", level, syscall(SYS_gettid), clock,
            text);
    if (fatal)
        exit(1);
}

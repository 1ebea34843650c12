/* base.c - errors as values, and the end of the process after a bug of our own. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int xs__fail(struct xs_error *err, int status, const char *where, int32_t native,
             const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        err->status = status;
        err->native = native;
        snprintf(err->where, sizeof err->where, "%s", where);
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
    }
    return status;
}

void xs__bug(const char *condition, const char *file, int line)
{
    fprintf(stderr, "pytest-xsched: bug in the native runner: %s (%s:%d)\n", condition, file, line);
    abort();
}

/* base.h - what every file of the runner uses: functions for errors, and types for time. */
#ifndef XS_BASE_H
#define XS_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xs_api.h"

typedef int64_t xs_ns; /* nanoseconds since the start of the run */

#define XS_NEVER INT64_MAX

/* Return a + b for b >= 0, at most the last moment before XS_NEVER. */
static inline xs_ns xs__later(xs_ns a, xs_ns b)
{
    return a > XS_NEVER - 1 - b ? XS_NEVER - 1 : a + b;
}

/* Fill *err (NULL is allowed) and return status, so that a failing call is one line: return
 * xs__fail(err, XS_EINVAL, "run.start", 0, "... %u ...", value). */
int xs__fail(struct xs_error *err, int status, const char *where, int32_t native,
             const char *format, ...) __attribute__((format(printf, 5, 6)));

/* For bugs of our own only: no scenario and no device may trigger it. It stays on in release
 * builds. */
#define XS_ASSERT(condition) ((condition) ? (void)0 : xs__bug(#condition, __FILE__, __LINE__))
void xs__bug(const char *condition, const char *file, int line) __attribute__((noreturn));

#endif

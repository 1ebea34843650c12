/* hal.h - what the hals of the double share: functions of an existing driver. */
#ifndef XS_PREEMPT_HAL_H
#define XS_PREEMPT_HAL_H

#include "preempt.h"

/* Return a function of the library that the environment variable names, or else of what the
 * program has opened for all. XSched also searches system directories; the double does not,
 * so a test must name the library. A missing function ends the process. */
void *hal_symbol(const char *variable, const char *name);

/* End the process if a call of the driver failed. */
void hal_check(const char *call, int result);

#endif

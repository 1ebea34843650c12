/* hal.h - what the hals of the double share: functions of a driver that is there. */
#ifndef XS_PREEMPT_HAL_H
#define XS_PREEMPT_HAL_H

#include "preempt.h"

/* A function of the library that the environment variable names, or else of what the
 * program has opened for all. XSched looks into system directories as well; here who does
 * not name the library fails. A missing one ends the process. */
void *hal_symbol(const char *variable, const char *name);

/* End the process if a call of the driver failed. */
void hal_check(const char *call, int result);

#endif

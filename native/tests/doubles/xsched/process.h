/* process.h - what the shims of the double call; see process.c. */
#ifndef XS_PREEMPT_PROCESS_H
#define XS_PREEMPT_PROCESS_H

#include "preempt.h"

/* Called before each launch. It does not return if a fault says so. */
PREEMPT_API void preempt_before_launch(void);
/* Called after a call that waits for all launches. */
PREEMPT_API void preempt_after_wait(void);

#endif

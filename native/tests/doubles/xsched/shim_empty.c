/* shim_empty.c - a shim that intercepts nothing, as from a broken build. */
#include "preempt.h"

PREEMPT_API int shim_without_entry_points(void);

int shim_without_entry_points(void)
{
    return PREEMPT_SUCCESS;
}

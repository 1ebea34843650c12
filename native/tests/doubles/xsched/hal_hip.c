/* hal_hip.c - libhalhip of the double. The context that is current when a queue is created
 * becomes that of the launch thread. */
#include "hal.h"

#define LIBRARY "XSCHED_HIP_LIB"

static void synchronize(void *native)
{
    int (*call)(void *stream);
    *(void **)&call = hal_symbol(LIBRARY, "hipStreamSynchronize");
    hal_check("hipStreamSynchronize", call(native));
}

static void enter(void *context)
{
    int (*call)(void *context);
    *(void **)&call = hal_symbol(LIBRARY, "hipCtxSetCurrent");
    hal_check("hipCtxSetCurrent", call(context));
}

static const struct hw_driver driver = {.synchronize = synchronize, .enter = enter};

PREEMPT_API int HipQueueCreate(HwQueueHandle *hwq, void *stream);

int HipQueueCreate(HwQueueHandle *hwq, void *stream)
{
    int (*get_current)(void **context);
    void *current = NULL;
    if (stream == NULL)
        return PREEMPT_NOT_SUPPORTED;
    *(void **)&get_current = hal_symbol(LIBRARY, "hipCtxGetCurrent");
    hal_check("hipCtxGetCurrent", get_current(&current));
    return preempt_register(hwq, stream, &driver, current);
}

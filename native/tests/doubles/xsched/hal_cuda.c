/* hal_cuda.c - libhalcuda of the double. The context that is current when a queue is created
 * must be that of its stream, and becomes that of the launch thread. */
#include "hal.h"

#define LIBRARY "XSCHED_CUDA_LIB"

static void synchronize(void *native)
{
    int (*call)(void *stream);
    *(void **)&call = hal_symbol(LIBRARY, "cuStreamSynchronize");
    hal_check("cuStreamSynchronize", call(native));
}

static void enter(void *context)
{
    int (*call)(void *context);
    *(void **)&call = hal_symbol(LIBRARY, "cuCtxSetCurrent");
    hal_check("cuCtxSetCurrent", call(context));
}

static bool is_complete(void *native)
{
    enum {
        NOT_READY = 600
    };
    int (*call)(void *stream);
    *(void **)&call = hal_symbol(LIBRARY, "cuStreamQuery");
    int result = call(native);
    if (result != NOT_READY)
        hal_check("cuStreamQuery", result);
    return result != NOT_READY;
}

static const struct hw_driver driver = {
    .synchronize = synchronize, .enter = enter, .is_complete = is_complete};

PREEMPT_API int CudaQueueCreate(HwQueueHandle *hwq, void *stream);
PREEMPT_API int CudaQueueGet(HwQueueHandle *hwq, void *stream);

int CudaQueueCreate(HwQueueHandle *hwq, void *stream)
{
    int (*get_current)(void **context), (*get_own)(void *stream, void **context);
    void *current = NULL, *own = NULL;
    if (stream == NULL)
        return PREEMPT_NOT_SUPPORTED;
    *(void **)&get_current = hal_symbol(LIBRARY, "cuCtxGetCurrent");
    *(void **)&get_own = hal_symbol(LIBRARY, "cuStreamGetCtx");
    hal_check("cuCtxGetCurrent", get_current(&current));
    hal_check("cuStreamGetCtx", get_own(stream, &own));
    if (current != own)
        preempt_log("ERRO", "Assertion failed: the current context is not that of the stream");
    return preempt_register(hwq, stream, &driver, current);
}

/* Only for queues that were created. */
int CudaQueueGet(HwQueueHandle *hwq, void *stream)
{
    XQueueHandle unused;
    *hwq = (HwQueueHandle)(uintptr_t)stream;
    return XQueueGet(&unused, *hwq);
}

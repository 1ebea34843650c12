/* hal_opencl.c - libhalopencl of the double. Like the original, it finds the driver through
 * the variable for CUDA. */
#include "hal.h"

static void synchronize(void *native)
{
    int (*finish)(void *queue);
    *(void **)&finish = hal_symbol("XSCHED_CUDA_LIB", "clFinish");
    hal_check("clFinish", finish(native));
}

static const struct hw_driver driver = {.synchronize = synchronize};

PREEMPT_API int OclQueueCreate(HwQueueHandle *hwq, void *queue);

int OclQueueCreate(HwQueueHandle *hwq, void *queue)
{
    return preempt_register(hwq, queue, &driver, NULL);
}

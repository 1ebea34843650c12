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
    enum {
        QUEUE_DEVICE = 0x1091
    };
    int (*get_info)(void *queue, unsigned name, size_t size, void *value, size_t *used);
    void *device = NULL;
    *(void **)&get_info = hal_symbol("XSCHED_CUDA_LIB", "clGetCommandQueueInfo");
    hal_check("clGetCommandQueueInfo", get_info(queue, QUEUE_DEVICE, sizeof device, &device, NULL));
    return preempt_register(hwq, queue, &driver, device);
}

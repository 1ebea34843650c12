/* shim_opencl.c - libshimopencl of the double, for LD_PRELOAD: the one function that launches
 * kernels, and the one that waits for them. They call the driver that XSCHED_CUDA_LIB names, and
 * change nothing. */
#include "hal.h"
#include "process.h"

typedef int launch(void *queue, void *kernel, unsigned dimensions, const size_t *offset,
                   const size_t *global, const size_t *local, unsigned count, void *const *events,
                   void **event);

typedef int wait(void *queue);

PREEMPT_API launch clEnqueueNDRangeKernel;
PREEMPT_API wait clFinish;

int clEnqueueNDRangeKernel(void *queue, void *kernel, unsigned dimensions, const size_t *offset,
                           const size_t *global, const size_t *local, unsigned count,
                           void *const *events, void **event)
{
    launch *to;
    preempt_before_launch();
    *(void **)&to = hal_symbol("XSCHED_CUDA_LIB", "clEnqueueNDRangeKernel");
    return to(queue, kernel, dimensions, offset, global, local, count, events, event);
}

int clFinish(void *queue)
{
    wait *to;
    *(void **)&to = hal_symbol("XSCHED_CUDA_LIB", "clFinish");
    int result = to(queue);
    preempt_after_wait();
    return result;
}

/* shim_opencl.c - libshimopencl of the double, for LD_PRELOAD: the one function that launches
 * kernels. It calls the driver that XSCHED_CUDA_LIB names, and changes nothing. */
#include "hal.h"

typedef int launch(void *queue, void *kernel, unsigned dimensions, const size_t *offset,
                   const size_t *global, const size_t *local, unsigned count, void *const *events,
                   void **event);

PREEMPT_API launch clEnqueueNDRangeKernel;

int clEnqueueNDRangeKernel(void *queue, void *kernel, unsigned dimensions, const size_t *offset,
                           const size_t *global, const size_t *local, unsigned count,
                           void *const *events, void **event)
{
    launch *to;
    *(void **)&to = hal_symbol("XSCHED_CUDA_LIB", "clEnqueueNDRangeKernel");
    return to(queue, kernel, dimensions, offset, global, local, count, events, event);
}

/* shim_cuda.c - libshimcuda of the double, for LD_PRELOAD: the one function that launches
 * kernels, and the one that waits for them. They call the driver that XSCHED_CUDA_LIB names, and
 * change nothing. */
#include "hal.h"
#include "process.h"

typedef int launch(void *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **parameters, void **extra);

typedef int wait(void *stream);

PREEMPT_API launch cuLaunchKernel;
PREEMPT_API wait cuStreamSynchronize;

int cuLaunchKernel(void *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **parameters, void **extra)
{
    launch *to;
    preempt_before_launch();
    *(void **)&to = hal_symbol("XSCHED_CUDA_LIB", "cuLaunchKernel");
    return to(kernel, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra);
}

int cuStreamSynchronize(void *stream)
{
    wait *to;
    *(void **)&to = hal_symbol("XSCHED_CUDA_LIB", "cuStreamSynchronize");
    int result = to(stream);
    preempt_after_wait();
    return result;
}

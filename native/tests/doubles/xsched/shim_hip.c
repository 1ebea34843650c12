/* shim_hip.c - libshimhip of the double, for LD_PRELOAD: the one function that launches
 * kernels, and the one that waits for them. They call the driver that XSCHED_HIP_LIB names, and
 * change nothing. */
#include "hal.h"
#include "process.h"

typedef int launch(void *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **parameters, void **extra);

typedef int wait(void *stream);

PREEMPT_API launch hipModuleLaunchKernel;
PREEMPT_API wait hipStreamSynchronize;

int hipModuleLaunchKernel(void *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                          unsigned by, unsigned bz, unsigned shared, void *stream,
                          void **parameters, void **extra)
{
    launch *to;
    preempt_before_launch();
    *(void **)&to = hal_symbol("XSCHED_HIP_LIB", "hipModuleLaunchKernel");
    return to(kernel, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra);
}

int hipStreamSynchronize(void *stream)
{
    wait *to;
    *(void **)&to = hal_symbol("XSCHED_HIP_LIB", "hipStreamSynchronize");
    int result = to(stream);
    preempt_after_wait();
    return result;
}

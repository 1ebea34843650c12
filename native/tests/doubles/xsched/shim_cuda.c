/* shim_cuda.c - libshimcuda of the double, for LD_PRELOAD: the one function that launches
 * kernels. It calls the driver that XSCHED_CUDA_LIB names, and changes nothing. */
#include "hal.h"

typedef int launch(void *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **parameters, void **extra);

PREEMPT_API launch cuLaunchKernel;

int cuLaunchKernel(void *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **parameters, void **extra)
{
    launch *to;
    *(void **)&to = hal_symbol("XSCHED_CUDA_LIB", "cuLaunchKernel");
    return to(kernel, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra);
}

/* gpu_kernels.h - the commands as kernels: one source text for NVRTC and
 * hiprtc. Inputs, results and checksums are those of cpu_kernels.h. */
#ifndef XS_GPU_KERNELS_H
#define XS_GPU_KERNELS_H

#include "base.h"

extern const char xs__gpu_source[];

enum {
    XS_GPU_TILE = 32,        /* a block of xs_matmul computes a tile of 32 x 32 */
    XS_GPU_ROWS = 8,         /* with 32 x 8 threads */
    XS_GPU_BLOCK = 256,      /* threads of the other kernels, where nothing else is said */
    XS_GPU_BATCH_MAX = 65535 /* the most blocks of a grid in z */
};

#endif

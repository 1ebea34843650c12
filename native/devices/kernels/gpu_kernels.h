/* gpu_kernels.h - the commands as kernels: one source text for NVRTC, hiprtc and OpenCL C,
 * and the grid of each kernel. Inputs, results and checksums are those of cpu_kernels.h. */
#ifndef XS_GPU_KERNELS_H
#define XS_GPU_KERNELS_H

#include "base/base.h"

extern const char xs__gpu_source[];

/* Parameters:
 *
 *     fill                  (float *out, u64 count, u32 seed, u32 which)
 *     matmul_*, vector_add  (float *a, float *b, float *out, u32 n, u32 launch, u64 at,
 *                            i64 *checksum)
 *     spin                  (u64 iterations, u32 launch, i64 *checksum) */
enum xs_gpu_function {
    XS_GPU_FILL,
    XS_GPU_MATMUL_SMALL,
    XS_GPU_MATMUL_LARGE,
    XS_GPU_VECTOR_ADD,
    XS_GPU_SPIN,
    XS_GPU_FUNCTIONS
};
extern const char *const xs__gpu_names[XS_GPU_FUNCTIONS]; /* names in the source text */

enum {
    XS_GPU_SMALL = 64,       /* a block of a matmul computes a tile of 64 x 64 */
    XS_GPU_LARGE = 128,      /* or of 128 x 128 */
    XS_GPU_SIDE = 16,        /* with 16 x 16 threads */
    XS_GPU_BLOCK = 256,      /* threads of a block of xs_fill and xs_vector_add */
    XS_GPU_BATCH_MAX = 65535 /* the largest number of blocks of a grid in z */
};

struct xs_gpu_grid {
    uint32_t blocks[3], threads[3]; /* x, y, z; threads of one block */
};

struct xs_gpu_grid xs__gpu_fill_grid(uint64_t items);

/* The function and the grid of a command on a device of `processors` multiprocessors, with
 * blocks of at most `most` threads (>= XS_GPU_BLOCK). A matmul uses large tiles if each
 * multiprocessor gets one of them. A spin on all of the device has two blocks on each
 * multiprocessor, and as many more in each further wave. A spin on a share has proportionally
 * fewer blocks, at least one. A spin of no iterations has one block of one thread. */
enum xs_gpu_function xs__gpu_function(const struct xs_command *command, uint32_t processors);
struct xs_gpu_grid xs__gpu_grid(const struct xs_command *command, uint64_t iterations,
                                uint32_t processors, uint32_t most);

/* Number of blocks of a spin that execute at once. Up to one on a multiprocessor, each block
 * has it to itself and is faster than one of two. */
uint32_t xs__gpu_spin_blocks(const struct xs_command *command, uint32_t processors);

/* The output element that launch `argument` adds to the checksum. */
uint64_t xs__gpu_at(uint32_t argument, uint64_t items);

#endif

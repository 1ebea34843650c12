/* cpu_kernels.h - the arithmetic of the cpu device: one call, one command.
 *
 * Inputs are small whole numbers, so every float32 sum is exact in any order
 * and results can be compared with numpy for equality. */
#ifndef XS_CPU_KERNELS_H
#define XS_CPU_KERNELS_H

#include "base/base.h"

/* Operand `which` (0 or 1) of a command with this seed: element i is
 * h % 5 - 2, where h = mix(i * 2654435761 + (2 * seed + which) * 668265263)
 * and mix(h) is h ^= h >> 15, h *= 2246822519, h ^= h >> 13, all modulo 2^32. */
void xs__cpu_fill(float *operand, uint64_t count, uint32_t seed, uint32_t which);

/* out = a . b + argument for `batch` pairs of n x n matrices, row-major.
 * `panel` is scratch of xs__cpu_panel_floats(n), 16-byte aligned. */
void xs__cpu_matmul(uint32_t n, uint32_t batch, const float *a, const float *b, float argument,
                    float *panel, float *out);
uint64_t xs__cpu_panel_floats(uint32_t n);

/* out = a + b + argument */
void xs__cpu_vector_add(uint32_t n, const float *a, const float *b, float argument, float *out);

/* Busy for duration_ns: all of the one worker, whatever share a GPU would give. */
void xs__cpu_spin(int64_t duration_ns);

#endif

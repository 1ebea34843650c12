/* cpu_kernels.h - the arithmetic of the cpu device: one call executes one command.
 *
 * Inputs are small integers, so every float32 sum is exact in any order, and numpy can
 * compare results for equality. */
#ifndef XS_CPU_KERNELS_H
#define XS_CPU_KERNELS_H

#include "base/base.h"

/* Fill operand `which` (0 or 1) of a command with this seed: element i is h % 5 - 2, where h
 * = mix(i * 2654435761 + (2 * seed + which) * 668265263) and mix(h) is h ^= h >> 15, h *=
 * 2246822519, h ^= h >> 13, all modulo 2^32. */
void xs__cpu_fill(float *operand, uint64_t count, uint32_t seed, uint32_t which);

/* out = a . b + argument for `batch` pairs of n x n matrices, row-major. `panel` is scratch
 * memory of xs__cpu_panel_floats(n) floats, 16-byte aligned. */
void xs__cpu_matmul(uint32_t n, uint32_t batch, const float *a, const float *b, float argument,
                    float *panel, float *out);
uint64_t xs__cpu_panel_floats(uint32_t n);

/* out = a + b + argument */
void xs__cpu_vector_add(uint32_t n, const float *a, const float *b, float argument, float *out);

/* Keep one worker busy for duration_ns. The share of a spin on a GPU has no meaning here. */
void xs__cpu_spin(int64_t duration_ns);

#endif

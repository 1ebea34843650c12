/* gpu_kernels.c - the source text and the grids. Each kernel gets the number of its launch.
 * The thread that writes element `at` of the output adds it to the checksum. This needs no
 * atomics: one thread a launch does so, and a stream is in order. */
#include "devices/kernels/gpu_kernels.h"

/* A block of 16 x 16 threads computes a tile of side TILE = 16 * EACH. Each thread computes
 * EACH x EACH of its elements in groups of four neighbours, so that a warp reads contiguous
 * memory. The product advances in steps of 16 columns of `a` and 16 rows of `b`: one step is
 * used, the next waits in registers, and the one after it is being loaded. Shared rows are 4
 * longer than the tile; otherwise the stores of a column would all go to one bank.
 *
 * The large tile takes more than half of the registers of a multiprocessor (on NVIDIA GPUs),
 * so each multiprocessor executes one block and has room for smaller kernels next to it. */
#define MATMUL(NAME, EACH, TILE, PER_PROCESSOR)                                                    \
    "TILED(" PER_PROCESSOR ") " NAME                                                               \
    "(GLOBAL const float *a, GLOBAL const float *b, GLOBAL float *out,\n"                          \
    "        u32 n, u32 launch, u64 at, GLOBAL i64 *checksum)\n"                                   \
    "{\n"                                                                                          \
    "    SHARED float4 left4[2][16][" TILE " / 4 + 1], right4[2][16][" TILE " / 4 + 1];\n"         \
    "    LOCAL float *left = (LOCAL float *)left4, *right = (LOCAL float *)right4;\n"              \
    "    const u32 wide = " TILE " + 4;\n"                                                         \
    "    u64 matrix = (u64)BLOCK(2) * n * n;\n"                                                    \
    "    u32 x = THREAD(0), y = THREAD(1), thread = 16 * y + x;\n"                                 \
    "    u32 top = " TILE " * BLOCK(1), first = " TILE " * BLOCK(0);\n"                            \
    "    u32 b_row = thread / " TILE ", b_column = first + thread % " TILE ";\n"                   \
    "    GLOBAL const float *a_from = a + matrix + (u64)(top + y) * n + x;\n"                      \
    "    GLOBAL const float *b_from = b + matrix + (u64)b_row * n + b_column;\n"                   \
    "    int inside = top + " TILE " <= n && first + " TILE " <= n;\n"                             \
    "    float sums[" EACH "][" EACH "], a_next[" EACH "], b_next[" EACH "];\n"                    \
    "    for (u32 i = 0; i < " EACH "; i++) {\n"                                                   \
    "        a_next[i] = b_next[i] = 0.0f;\n"                                                      \
    "        for (u32 j = 0; j < " EACH "; j++)\n"                                                 \
    "            sums[i][j] = 0.0f;\n"                                                             \
    "    }\n"                                                                                      \
    "    for (u32 start = 0, stage = 0; start < n + 32; start += 16, stage ^= 1) {\n"              \
    "        float a_later[" EACH "], b_later[" EACH "];\n"                                        \
    "        if (inside && start + 16 <= n)\n"                                                     \
    "            for (u32 i = 0; i < " EACH "; i++) {\n"                                           \
    "                a_later[i] = a_from[(u64)(16 * i) * n + start];\n"                            \
    "                b_later[i] = b_from[(u64)(start + 256 / " TILE " * i) * n];\n"                \
    "            }\n"                                                                              \
    "        else\n"                                                                               \
    "            for (u32 i = 0; i < " EACH "; i++) {\n"                                           \
    "                u32 row = 16 * i, down = start + 256 / " TILE " * i;\n"                       \
    "                a_later[i] = top + y + row < n && start + x < n ? a_from[(u64)row * n + "     \
    "start] : 0;\n"                                                                                \
    "                b_later[i] = b_row + down < n && b_column < n ? b_from[(u64)down * n] : 0;\n" \
    "            }\n"                                                                              \
    "        if (start > 16)\n"                                                                    \
    "#pragma unroll\n"                                                                             \
    "            for (u32 k = 0; k < 16; k++) {\n"                                                 \
    "                float l[" EACH "], r[" EACH "];\n"                                            \
    "                for (u32 i = 0; i < " EACH " / 4; i++) {\n"                                   \
    "                    float4 l4 = left4[stage][k][16 * i + y];\n"                               \
    "                    float4 r4 = right4[stage][k][16 * i + x];\n"                              \
    "                    l[4 * i] = l4.x, l[4 * i + 1] = l4.y;\n"                                  \
    "                    l[4 * i + 2] = l4.z, l[4 * i + 3] = l4.w;\n"                              \
    "                    r[4 * i] = r4.x, r[4 * i + 1] = r4.y;\n"                                  \
    "                    r[4 * i + 2] = r4.z, r[4 * i + 3] = r4.w;\n"                              \
    "                }\n"                                                                          \
    "                for (u32 i = 0; i < " EACH "; i++)\n"                                         \
    "                    for (u32 j = 0; j < " EACH "; j++)\n"                                     \
    "                        sums[i][j] += l[i] * r[j];\n"                                         \
    "            }\n"                                                                              \
    "        for (u32 i = 0; i < " EACH "; i++) {\n"                                               \
    "            u32 row = 16 * (stage ^ 1) + b_row + 256 / " TILE " * i;\n"                       \
    "            left[(16 * (stage ^ 1) + x) * wide + y + 16 * i] = a_next[i];\n"                  \
    "            right[row * wide + thread % " TILE "] = b_next[i];\n"                             \
    "            a_next[i] = a_later[i];\n"                                                        \
    "            b_next[i] = b_later[i];\n"                                                        \
    "        }\n"                                                                                  \
    "        BARRIER();\n"                                                                         \
    "    }\n"                                                                                      \
    "    for (u32 i = 0; i < " EACH "; i++)\n"                                                     \
    "        for (u32 j = 0; j < " EACH "; j++) {\n"                                               \
    "            u32 row = top + 64 * (i / 4) + 4 * y + i % 4;\n"                                  \
    "            u32 column = first + 64 * (j / 4) + 4 * x + j % 4;\n"                             \
    "            if (row < n && column < n) {\n"                                                   \
    "                u64 to = matrix + (u64)row * n + column;\n"                                   \
    "                float value = sums[i][j] + (float)(launch % 1024u);\n"                        \
    "                out[to] = value;\n"                                                           \
    "                if (to == at)\n"                                                              \
    "                    *checksum += (i64)value;\n"                                               \
    "            }\n"                                                                              \
    "        }\n"                                                                                  \
    "}\n"                                                                                          \
    "\n"

/* First the names that differ between the languages, then plain C. */
const char xs__gpu_source[] =
    "#ifdef __OPENCL_VERSION__\n"
    "typedef uint u32;\n"
    "typedef ulong u64;\n"
    "typedef long i64;\n"
    "#define KERNEL __kernel void\n"
    "#define TILED(per_processor) __kernel __attribute__((reqd_work_group_size(16, 16, 1))) void\n"
    "#define GLOBAL __global\n"
    "#define LOCAL __local\n"
    "#define SHARED __local\n"
    "#define BARRIER() barrier(CLK_LOCAL_MEM_FENCE)\n"
    "#define BLOCK(axis) (u32)get_group_id(axis)\n"
    "#define THREAD(axis) (u32)get_local_id(axis)\n"
    "#define THREADS(axis) (u32)get_local_size(axis)\n"
    "#else\n"
    "typedef unsigned int u32;\n"
    "typedef unsigned long long u64;\n"
    "typedef long long i64;\n"
    "#define KERNEL extern \"C\" __global__ void\n"
    "#define TILED(per_processor) extern \"C\" __global__ void __launch_bounds__(256, "
    "per_processor)\n"
    "#define GLOBAL\n"
    "#define LOCAL\n"
    "#define SHARED __shared__\n"
    "#define BARRIER() __syncthreads()\n"
    "#define OF(index, axis) ((axis) == 0 ? index.x : (axis) == 1 ? index.y : index.z)\n"
    "#define BLOCK(axis) OF(blockIdx, axis)\n"
    "#define THREAD(axis) OF(threadIdx, axis)\n"
    "#define THREADS(axis) OF(blockDim, axis)\n"
    "#endif\n"
    "\n"
    "KERNEL xs_fill(GLOBAL float *out, u64 count, u32 seed, u32 which)\n"
    "{\n"
    "    u64 i = (u64)BLOCK(0) * THREADS(0) + THREAD(0);\n"
    "    if (i >= count)\n"
    "        return;\n"
    "    u32 h = (u32)i * 2654435761u + (2u * seed + which) * 668265263u;\n"
    "    h ^= h >> 15;\n"
    "    h *= 2246822519u;\n"
    "    h ^= h >> 13;\n"
    "    out[i] = (float)(h % 5u) - 2.0f;\n"
    "}\n"
    "\n" MATMUL("xs_matmul_small", "4", "64", "3")
        MATMUL("xs_matmul_large", "8", "128",
               "1") "KERNEL xs_vector_add(GLOBAL const float *a, GLOBAL const float *b, GLOBAL "
                    "float *out, u32 n,\n"
                    "                     u32 launch, u64 at, GLOBAL i64 *checksum)\n"
                    "{\n"
                    "    u64 i = (u64)BLOCK(0) * THREADS(0) + THREAD(0);\n"
                    "    if (i >= n)\n"
                    "        return;\n"
                    "    float value = a[i] + b[i] + (float)(launch % 1024u);\n"
                    "    out[i] = value;\n"
                    "    if (i == at)\n"
                    "        *checksum += (i64)value;\n"
                    "}\n"
                    "\n"
                    "/* By iterations, not by a clock: time that is taken away from it counts. */\n"
                    "KERNEL xs_spin(u64 iterations, u32 launch, GLOBAL i64 *checksum)\n"
                    "{\n"
                    "    u32 x = THREAD(0) + launch;\n"
                    "    for (u64 i = 0; i < iterations; i++)\n"
                    "        x = x * 1664525u + 1013904223u + (u32)i;\n"
                    "    if (BLOCK(0) == 0 && THREAD(0) == 0)\n"
                    "        *checksum += (i64)(launch % 1024u);\n"
                    "    if (x == 0u && iterations == ~(u64)0)\n"
                    "        *checksum = -1; /* never; keeps the loop */\n"
                    "}\n";

const char *const xs__gpu_names[XS_GPU_FUNCTIONS] = {
    [XS_GPU_FILL] = "xs_fill",
    [XS_GPU_MATMUL_SMALL] = "xs_matmul_small",
    [XS_GPU_MATMUL_LARGE] = "xs_matmul_large",
    [XS_GPU_VECTOR_ADD] = "xs_vector_add",
    [XS_GPU_SPIN] = "xs_spin",
};

static uint32_t groups(uint64_t items, uint32_t of)
{
    return (uint32_t)((items + of - 1) / of);
}

struct xs_gpu_grid xs__gpu_fill_grid(uint64_t items)
{
    return (struct xs_gpu_grid){{groups(items, XS_GPU_BLOCK), 1, 1}, {XS_GPU_BLOCK, 1, 1}};
}

static uint32_t tiles_of(uint32_t n, enum xs_gpu_function function)
{
    return groups(n, function == XS_GPU_MATMUL_LARGE ? XS_GPU_LARGE : XS_GPU_SMALL);
}

enum xs_gpu_function xs__gpu_function(const struct xs_command *command, uint32_t processors)
{
    uint64_t large = tiles_of(command->n, XS_GPU_MATMUL_LARGE);
    switch (command->kind) {
    case XS_MATMUL:
        return large * large * command->batch >= processors ? XS_GPU_MATMUL_LARGE
                                                            : XS_GPU_MATMUL_SMALL;
    case XS_VECTOR_ADD:
        return XS_GPU_VECTOR_ADD;
    default:
        return XS_GPU_SPIN;
    }
}

uint32_t xs__gpu_spin_blocks(const struct xs_command *c, uint32_t processors)
{
    uint32_t all = 2 * processors; /* of 1024 threads: they leave no room for other blocks */
    uint32_t blocks = c->fill_permille > 0 ? (all * c->fill_permille + 500) / 1000 : all;
    return blocks > 0 ? blocks : 1;
}

struct xs_gpu_grid xs__gpu_grid(const struct xs_command *c, uint64_t iterations,
                                uint32_t processors, uint32_t most)
{
    uint32_t tiles, blocks;
    switch (c->kind) {
    case XS_MATMUL:
        tiles = tiles_of(c->n, xs__gpu_function(c, processors));
        return (struct xs_gpu_grid){{tiles, tiles, c->batch}, {XS_GPU_SIDE, XS_GPU_SIDE, 1}};
    case XS_VECTOR_ADD:
        return xs__gpu_fill_grid(c->n);
    default:
        if (iterations == 0)
            return (struct xs_gpu_grid){{1, 1, 1}, {1, 1, 1}};
        blocks = xs__gpu_spin_blocks(c, processors) * (c->waves > 0 ? c->waves : 1);
        return (struct xs_gpu_grid){{blocks, 1, 1}, {most, 1, 1}};
    }
}

uint64_t xs__gpu_at(uint32_t argument, uint64_t items)
{
    return argument * UINT32_C(2654435761) % items;
}

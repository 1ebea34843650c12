/* fake_kernels.c - the kernels of the fake driver, computed from the parameters of the real
 * ones. A spin takes a nanosecond an iteration, and two with more than one block on a
 * multiprocessor. `scale` is a kernel of a user. The others are for captured graphs: `step`
 * writes a number to the end of a list, and `turn` waits for a counter, as kernels of libraries
 * do, that an earlier node has to clear. */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "fake.h"

#define PARAMETER(type, n) (*(type *)parameters[n])

/* Each returns its time in ns, or FAKE_BAD_GRID, or FAKE_HANGS. */
static int64_t fill(struct fake_grid g, void **parameters)
{
    float *out = PARAMETER(float *, 0);
    uint64_t count = PARAMETER(uint64_t, 1);
    uint32_t seed = PARAMETER(uint32_t, 2), which = PARAMETER(uint32_t, 3);
    if (g.x * g.threads < count)
        return FAKE_BAD_GRID;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t h = (uint32_t)i * 2654435761u + (2u * seed + which) * 668265263u;
        h ^= h >> 15;
        h *= 2246822519u;
        h ^= h >> 13;
        out[i] = (float)(h % 5u) - 2.0f;
    }
    return 1000;
}

static float matmul_element(const float *a, const float *b, uint64_t to, uint64_t n)
{
    uint64_t matrix = to / (n * n) * n * n, row = to % (n * n) / n, column = to % n;
    float sum = 0;
    for (uint64_t k = 0; k < n; k++)
        sum += a[matrix + row * n + k] * b[matrix + k * n + column];
    return sum;
}

static int64_t compute(void **parameters, uint64_t items, bool is_matmul)
{
    const float *a = PARAMETER(float *, 0), *b = PARAMETER(float *, 1);
    float *out = PARAMETER(float *, 2);
    uint32_t n = PARAMETER(uint32_t, 3), launch = PARAMETER(uint32_t, 4);
    for (uint64_t i = 0; i < items; i++)
        out[i] = (is_matmul ? matmul_element(a, b, i, n) : a[i] + b[i]) + (float)(launch % 1024u);
    *PARAMETER(int64_t *, 6) += (int64_t)out[PARAMETER(uint64_t, 5)];
    return 10000;
}

static int64_t matmul(struct fake_grid g, void **parameters, uint64_t tile)
{
    uint64_t n = PARAMETER(uint32_t, 3);
    if (g.x * tile < n || g.y * tile < n || g.threads != 256)
        return FAKE_BAD_GRID;
    return compute(parameters, n * n * g.z, true);
}

static int64_t matmul_small(struct fake_grid g, void **parameters)
{
    return matmul(g, parameters, 64);
}

static int64_t matmul_large(struct fake_grid g, void **parameters)
{
    return matmul(g, parameters, 128);
}

static int64_t vector_add(struct fake_grid g, void **parameters)
{
    uint64_t n = PARAMETER(uint32_t, 3);
    return g.x * g.threads < n ? FAKE_BAD_GRID : compute(parameters, n, false);
}

static int64_t spin(struct fake_grid g, void **parameters)
{
    uint64_t iterations = PARAMETER(uint64_t, 0);
    *PARAMETER(int64_t *, 2) += PARAMETER(uint32_t, 1) % 1024u;
    fake_note("spin %llu %llu", (unsigned long long)g.x, (unsigned long long)iterations);
    return (int64_t)iterations * (g.x > FAKE_PROCESSORS ? 2 : 1);
}

/* (float *x, long long n, float by, int more) */
static int64_t scale(struct fake_grid g, void **parameters)
{
    float *x = PARAMETER(float *, 0);
    (void)g;
    for (int64_t i = 0; i < PARAMETER(int64_t, 1); i++)
        x[i] = x[i] * PARAMETER(float, 2) + (float)PARAMETER(int32_t, 3);
    return 10000;
}

/* (long long *list, long long value) */
static int64_t step(struct fake_grid g, void **parameters)
{
    int64_t *list = PARAMETER(int64_t *, 0);
    (void)g;
    list[++list[0]] = PARAMETER(int64_t, 1);
    return 10000;
}

/* (int *counter) */
static int64_t turn(struct fake_grid g, void **parameters)
{
    int *counter = PARAMETER(int *, 0);
    (void)g;
    return (*counter)++ == 0 ? 10000 : FAKE_HANGS;
}

const struct fake_kernel *fake_find(const char *name)
{
    static const struct fake_kernel kernels[] = {
        {.name = "xs_fill", .run = fill, .sizes = {8, 8, 4, 4}},
        {.name = "xs_matmul_small", .run = matmul_small, .sizes = {8, 8, 8, 4, 4, 8, 8}},
        {.name = "xs_matmul_large", .run = matmul_large, .sizes = {8, 8, 8, 4, 4, 8, 8}},
        {.name = "xs_vector_add", .run = vector_add, .sizes = {8, 8, 8, 4, 4, 8, 8}},
        {.name = "xs_spin", .run = spin, .sizes = {8, 4, 8}},
        {.name = "scale", .run = scale, .sizes = {8, 8, 4, 4}},
        {.name = "step", .run = step, .sizes = {8, 8}},
        {.name = "step_early", .run = step, .sizes = {8, 8}, .is_early = true},
        {.name = "step_library", .run = step, .sizes = {8, 8}, .is_library = true},
        {.name = "turn", .run = turn, .sizes = {8}, .counts = true},
    };
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++)
        if (strcmp(kernels[i].name, name) == 0)
            return &kernels[i];
    return NULL;
}

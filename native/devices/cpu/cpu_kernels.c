/* cpu_kernels.c - see cpu_kernels.h.
 *
 * The matrix product copies 8 columns of b at a time into a panel and keeps 4 x 8 sums in
 * registers. The panel stays in the L1 cache, and each element of it is used four times. The
 * vectors have the width of SSE2, so that one wheel runs on every x86-64 and on Arm. */
#include "devices/cpu/cpu_kernels.h"

#include "base/clock.h"

typedef float v4 __attribute__((vector_size(16)));

enum {
    COLUMNS = 8,
    ROWS = 4
};

void xs__cpu_fill(float *operand, uint64_t count, uint32_t seed, uint32_t which)
{
    uint32_t offset = (2 * seed + which) * UINT32_C(668265263);
    for (uint64_t i = 0; i < count; i++) {
        uint32_t h = (uint32_t)i * UINT32_C(2654435761) + offset;
        h ^= h >> 15;
        h *= UINT32_C(2246822519);
        h ^= h >> 13;
        operand[i] = (float)(h % 5) - 2.0f;
    }
}

uint64_t xs__cpu_panel_floats(uint32_t n)
{
    return (uint64_t)n * COLUMNS;
}

/* Copy columns [column, column + COLUMNS) of b, row after row, with zeros beyond n. */
static void pack(uint32_t n, const float *b, uint32_t column, float *panel)
{
    uint32_t width = n - column < COLUMNS ? n - column : COLUMNS;
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t j = 0; j < COLUMNS; j++)
            panel[(uint64_t)k * COLUMNS + j] = j < width ? b[(uint64_t)k * n + column + j] : 0.0f;
}

/* Multiply four rows of a by the panel. Rows beyond the matrix repeat the last row. */
static void multiply(uint32_t n, const float *const *rows, const float *panel,
                     float sums[ROWS][COLUMNS])
{
    const v4 *p = (const v4 *)(const void *)panel;
    v4 s00 = {0}, s01 = {0}, s10 = {0}, s11 = {0}, s20 = {0}, s21 = {0}, s30 = {0}, s31 = {0};
    for (uint32_t k = 0; k < n; k++, p += 2) {
        v4 left = p[0], right = p[1];
        float a0 = rows[0][k], a1 = rows[1][k], a2 = rows[2][k], a3 = rows[3][k];
        s00 += a0 * left, s01 += a0 * right;
        s10 += a1 * left, s11 += a1 * right;
        s20 += a2 * left, s21 += a2 * right;
        s30 += a3 * left, s31 += a3 * right;
    }
    v4 all[ROWS][2] = {{s00, s01}, {s10, s11}, {s20, s21}, {s30, s31}};
    for (uint32_t i = 0; i < ROWS; i++)
        for (uint32_t j = 0; j < COLUMNS; j++)
            sums[i][j] = all[i][j / 4][j % 4];
}

static void matmul_one(uint32_t n, const float *a, const float *b, float argument, float *panel,
                       float *out)
{
    float sums[ROWS][COLUMNS];
    for (uint32_t column = 0; column < n; column += COLUMNS) {
        uint32_t width = n - column < COLUMNS ? n - column : COLUMNS;
        pack(n, b, column, panel);
        for (uint32_t row = 0; row < n; row += ROWS) {
            uint32_t height = n - row < ROWS ? n - row : ROWS;
            const float *rows[ROWS];
            for (uint32_t i = 0; i < ROWS; i++)
                rows[i] = a + (uint64_t)(row + (i < height ? i : height - 1)) * n;
            multiply(n, rows, panel, sums);
            for (uint32_t i = 0; i < height; i++)
                for (uint32_t j = 0; j < width; j++)
                    out[(uint64_t)(row + i) * n + column + j] = sums[i][j] + argument;
        }
    }
}

void xs__cpu_matmul(uint32_t n, uint32_t batch, const float *a, const float *b, float argument,
                    float *panel, float *out)
{
    uint64_t square = (uint64_t)n * n;
    for (uint32_t m = 0; m < batch; m++)
        matmul_one(n, a + m * square, b + m * square, argument, panel, out + m * square);
}

void xs__cpu_vector_add(uint32_t n, const float *a, const float *b, float argument, float *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = a[i] + b[i] + argument;
}

void xs__cpu_spin(int64_t duration_ns)
{
    if (duration_ns == 0)
        return;
    xs_ns end = xs__later(xs__clock_ns(), duration_ns);
    while (xs__clock_ns() < end)
        xs__clock_relax();
}

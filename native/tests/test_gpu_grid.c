/* test_gpu_grid.c - the grid of each command on a GPU: the share and waves of a spin, the
 * tiles of a matmul. */
#include "check.h"
#include "devices/kernels/gpu_kernels.h"

enum {
    PROCESSORS = 132,
    THREADS = 1024
};

static uint32_t blocks_of(struct xs_command command)
{
    struct xs_gpu_grid g = xs__gpu_grid(&command, 1000, PROCESSORS, THREADS);
    CHECK_EQ(g.threads[0], THREADS);
    CHECK_EQ(g.blocks[1] * g.blocks[2] * g.threads[1] * g.threads[2], 1);
    return g.blocks[0];
}

static struct xs_command part(uint32_t fill_permille, uint32_t waves)
{
    struct xs_command command = spin(1 * MS);
    command.fill_permille = fill_permille;
    command.waves = waves;
    return command;
}

static void a_spin_takes_its_share(void)
{
    CHECK_EQ(blocks_of(part(1000, 1)), 2 * PROCESSORS);
    CHECK_EQ(blocks_of(part(0, 0)), 2 * PROCESSORS);
    CHECK_EQ(blocks_of(part(500, 1)), PROCESSORS);
    CHECK_EQ(blocks_of(part(300, 1)), 79); /* of 79.2 */
    CHECK_EQ(blocks_of(part(1, 1)), 1);    /* of 0.264 */
    for (uint32_t fill = 2; fill <= 1000; fill++)
        CHECK(blocks_of(part(fill, 1)) >= blocks_of(part(fill - 1, 1)));
}

static void waves_are_more_blocks(void)
{
    CHECK_EQ(blocks_of(part(1000, 8)), 8 * 2 * PROCESSORS);
    struct xs_command eight = part(1000, 8);
    CHECK_EQ(xs__gpu_spin_blocks(&eight, PROCESSORS), 2 * PROCESSORS); /* at once */
    CHECK_EQ(blocks_of(part(0, XS_WAVES_MAX)), XS_WAVES_MAX * 2 * PROCESSORS);
}

static void an_empty_command_is_one_thread(void)
{
    struct xs_command command = spin(0);
    struct xs_gpu_grid g = xs__gpu_grid(&command, 0, PROCESSORS, THREADS);
    CHECK_EQ(g.blocks[0] * g.blocks[1] * g.blocks[2], 1);
    CHECK_EQ(g.threads[0] * g.threads[1] * g.threads[2], 1);
}

static void a_matmul_is_covered(void)
{
    struct xs_command small = matmul(65, 3), large = matmul(1024, 8);
    struct xs_gpu_grid g = xs__gpu_grid(&small, 0, PROCESSORS, THREADS);
    CHECK(g.blocks[0] == 2 && g.blocks[1] == 2 && g.blocks[2] == 3);
    g = xs__gpu_grid(&large, 0, PROCESSORS, THREADS);
    CHECK(g.blocks[0] == 8 && g.blocks[1] == 8 && g.blocks[2] == 8);
}

int main(void)
{
    a_spin_takes_its_share();
    waves_are_more_blocks();
    an_empty_command_is_one_thread();
    a_matmul_is_covered();
    return 0;
}

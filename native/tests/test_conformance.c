/* test_conformance.c - what every backend must do: order within a stream, marks, priority
 * between streams, results, waiting on destroy. XS_ENODEV leaves a backend out; any other
 * difference fails. */
#include "base/clock.h"
#include "check.h"
#include "devices/device.h"

static struct xs_device *dev;
static const struct xs_device_ops *ops;
static xs_ns now; /* virtual time, where the device has it */

static int passed(struct xs_stream *stream, uint32_t slot)
{
    struct xs_error err;
    if (ops->virtual_time != NULL)
        ops->virtual_time->advance(dev, now);
    return ops->passed(stream, slot, &err);
}

/* Wait until the mark is passed. Time moves by itself or the test moves it. */
static void wait_mark(struct xs_stream *stream, uint32_t slot)
{
    struct xs_error err;
    while (passed(stream, slot) != XS_OK) {
        if (ops->virtual_time != NULL) {
            CHECK(ops->virtual_time->next_due(dev) != XS_NEVER); /* or the wait never ends */
            now = ops->virtual_time->next_due(dev);
        } else if (ops->wait != NULL) {
            int rc = ops->wait(stream, slot, xs__clock_ns() + 50 * MS, &err);
            CHECK(rc == XS_OK || rc == XS_EAGAIN);
        }
    }
}

static struct xs_stream *stream_of(int32_t priority)
{
    struct xs_stream *stream;
    CHECK_EQ(ops->stream_create(dev, priority, &stream, NULL), XS_OK);
    return stream;
}

static struct xs_kernel *kernel_of(struct xs_stream *stream, struct xs_command command)
{
    struct xs_kernel *kernel;
    struct xs_error err = {0};
    int rc = ops->kernel_create(stream, &command, 3, &kernel, &err);
    if (rc != XS_OK)
        fprintf(stderr, "%s\n", err.message);
    CHECK_EQ(rc, XS_OK);
    return kernel;
}

static void launch(struct xs_stream *stream, struct xs_kernel *kernel, uint32_t argument)
{
    if (ops->virtual_time != NULL)
        ops->virtual_time->advance(dev, now);
    CHECK_EQ(ops->launch(stream, kernel, argument, NULL), XS_OK);
}

static void mark(struct xs_stream *stream, uint32_t slot)
{
    CHECK_EQ(ops->mark(stream, slot, NULL), XS_OK);
}

static void marks_are_passed_in_order(void)
{
    struct xs_stream *stream = stream_of(0);
    struct xs_kernel *kernel = kernel_of(stream, spin(1 * MS));
    /* Longer than this thread may wait for a processor: a driver whose kernels execute on
     * CPUs takes the processors away from the thread that launches. */
    struct xs_kernel *long_one = kernel_of(stream, spin(50 * MS));
    mark(stream, 9);
    CHECK_EQ(passed(stream, 9), XS_OK); /* no launch is before it */
    launch(stream, long_one, 0);
    for (uint32_t i = 0; i < 8; i++) {
        launch(stream, kernel, i);
        mark(stream, i);
    }
    CHECK_EQ(passed(stream, 7), XS_EAGAIN); /* launching does not wait */
    wait_mark(stream, 3);
    for (uint32_t i = 0; i <= 3; i++)
        CHECK_EQ(passed(stream, i), XS_OK);
    wait_mark(stream, 7);
    launch(stream, long_one, 8);
    mark(stream, 0); /* a slot may be used again */
    CHECK_EQ(passed(stream, 0), XS_EAGAIN);
    wait_mark(stream, 0);
    ops->stream_destroy(stream);
    ops->kernel_destroy(long_one);
    ops->kernel_destroy(kernel);
}

static void a_stream_takes_as_many_as_promised(void)
{
    struct xs_stream *stream = stream_of(0);
    struct xs_kernel *kernel = kernel_of(stream, spin(1000));
    for (uint32_t i = 0; i < XS_THRESHOLD_MAX; i++) {
        launch(stream, kernel, i);
        mark(stream, i);
    }
    wait_mark(stream, XS_THRESHOLD_MAX - 1);
    ops->stream_destroy(stream);
    ops->kernel_destroy(kernel);
}

/* While `first` keeps the device busy, low is launched before high. If priority is honoured
 * and commands execute one at a time, high completes first. */
static void order_between_streams(int32_t low_priority, int32_t high_priority, bool high_first)
{
    struct xs_stream *first = stream_of(0);
    struct xs_stream *low = stream_of(low_priority), *high = stream_of(high_priority);
    struct xs_kernel *on_first = kernel_of(first, spin(40 * MS));
    struct xs_kernel *on_low = kernel_of(low, spin(40 * MS));
    struct xs_kernel *on_high = kernel_of(high, spin(40 * MS));
    launch(first, on_first, 0);
    launch(low, on_low, 0);
    launch(high, on_high, 0);
    mark(low, 0);
    mark(high, 0);
    wait_mark(high_first ? high : low, 0);
    CHECK_EQ(passed(high_first ? low : high, 0), XS_EAGAIN);
    ops->stream_destroy(first);
    ops->stream_destroy(low);
    ops->stream_destroy(high);
    ops->kernel_destroy(on_first);
    ops->kernel_destroy(on_low);
    ops->kernel_destroy(on_high);
}

/* The reference: plain loops over the documented inputs. */
static int64_t operand(uint64_t i, uint32_t seed, uint32_t which)
{
    uint32_t h = (uint32_t)i * 2654435761u + (2 * seed + which) * 668265263u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    return (int64_t)(h % 5) - 2;
}

static int64_t expected(struct xs_command c, uint64_t at, uint32_t seed)
{
    uint64_t n = c.n, matrix = at / (n * n) * n * n, row = at % (n * n) / n, column = at % n;
    int64_t sum = 0;
    if (c.kind == XS_VECTOR_ADD)
        return operand(at, seed, 0) + operand(at, seed, 1);
    for (uint64_t k = 0; k < n; k++)
        sum += operand(matrix + row * n + k, seed, 0) * operand(matrix + k * n + column, seed, 1);
    return sum;
}

static void results_are_right(struct xs_command command, uint32_t launches)
{
    struct xs_stream *stream = stream_of(0);
    struct xs_kernel *kernel = kernel_of(stream, command);
    uint64_t items = xs__command_items(&command);
    int64_t sum = 0, got = -1;
    float *out = malloc(items * sizeof *out);
    for (uint32_t k = 0; k < launches; k++) {
        launch(stream, kernel, 1000 + k); /* varying, and beyond the wrap at 1024 */
        mark(stream, 0);
        wait_mark(stream, 0);
        sum += expected(command, (1000 + k) * 2654435761u % items, 3) + (1000 + k) % 1024;
    }
    CHECK_EQ(ops->results->checksum(kernel, &got, NULL), XS_OK);
    CHECK_EQ(got, sum);
    CHECK_EQ(ops->results->output(kernel, out, items, NULL), XS_OK);
    for (uint64_t i = 0; i < items; i++)
        CHECK_EQ(out[i], expected(command, i, 3) + (1000 + launches - 1) % 1024);
    CHECK_EQ(ops->results->output(kernel, out, items + 1, NULL), XS_EINVAL);
    free(out);
    ops->stream_destroy(stream);
    ops->kernel_destroy(kernel);
}

static void computes(void)
{
    const uint32_t sizes[] = {1, 2, 3, 7, 8, 9, 31, 33, 64, 65, 130};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        results_are_right(matmul(sizes[i], 1), 3);
    results_are_right(matmul(17, 3), 30);
    results_are_right(matmul(20, 150), 3); /* large tiles, where a GPU has any */
    struct xs_command add = {.kind = XS_VECTOR_ADD, .n = 1000, .batch = 1};
    results_are_right(add, 30);
}

/* A spin is one command, whatever part of the device it uses. */
static void a_spin_may_take_a_share(void)
{
    struct xs_command share = spin(10000), waves = spin(10000);
    share.fill_permille = 1;
    waves.waves = 8;
    struct xs_stream *stream = stream_of(0);
    struct xs_kernel *kernels[] = {kernel_of(stream, share), kernel_of(stream, waves)};
    int64_t sum = -1;
    for (uint32_t i = 0; i < 2; i++) {
        launch(stream, kernels[i], 7);
        mark(stream, i);
        wait_mark(stream, i);
        if (ops->results != NULL) {
            CHECK_EQ(ops->results->checksum(kernels[i], &sum, NULL), XS_OK);
            CHECK_EQ(sum, 7); /* once, regardless of the number of blocks */
        }
    }
    ops->stream_destroy(stream);
    for (uint32_t i = 0; i < 2; i++)
        ops->kernel_destroy(kernels[i]);
}

static void destroying_waits(void)
{
    struct xs_stream *stream = stream_of(0);
    struct xs_kernel *kernel = kernel_of(stream, matmul(32, 1));
    for (uint32_t i = 0; i < 20; i++)
        launch(stream, kernel, i); /* no mark covers these */
    ops->stream_destroy(stream);
    ops->kernel_destroy(kernel); /* a sanitizer would report a later write to its memory */
}

/* ---- captured graphs ----------------------------------------------------------------- */

enum {
    NODES = 12
};

/* Run a request of the graph, cut into pieces of `size` nodes. */
static void run_in_pieces(struct xs_graph *graph, struct xs_stream *stream, uint32_t size)
{
    struct xs_kernel *segments[NODES];
    uint32_t ends[NODES], count = 0;
    struct xs_error err = {0};
    for (uint32_t end = 0; end < NODES; count++) {
        end = end + size < NODES ? end + size : NODES;
        ends[count] = end;
    }
    int rc = xs_graph_cut(graph, ends, count, &err);
    if (rc != XS_OK)
        fprintf(stderr, "%s: %s\n", err.where, err.message);
    CHECK_EQ(rc, XS_OK);
    for (uint32_t i = 0; i < count; i++) {
        struct xs_command command = {.kind = XS_SEGMENT, .n = i, .batch = 1, .graph = graph};
        segments[i] = kernel_of(stream, command);
    }
    for (uint32_t i = 0; i < count; i++) {
        launch(stream, segments[i], 0);
        mark(stream, i);
    }
    wait_mark(stream, count - 1);
    for (uint32_t i = 0; i < count; i++)
        ops->kernel_destroy(segments[i]);
}

/* The commands of a device, captured, compute what they compute when they are launched. */
static void captured_commands_compute(void)
{
    struct xs_command commands[] = {
        matmul(33, 2), {.kind = XS_VECTOR_ADD, .n = 1000, .batch = 1}, spin(10000)};
    struct xs_kernel *kernels[3];
    struct xs_capture *capture;
    struct xs_graph *graph;
    struct xs_graph_info info;
    struct xs_error err = {0};
    int64_t sums[3] = {0}, got, ns[NODES];
    void *handle;
    int rc = xs_capture_open(dev, NULL, 0, &capture, &err);
    if (rc == XS_ENOTSUP) {
        printf("graphs are left out: %s\n", err.message);
        return;
    }
    CHECK_EQ(rc, XS_OK);
    for (int i = 0; i < 3; i++)
        kernels[i] = kernel_of(capture->stream, commands[i]);
    CHECK_EQ(xs_capture_begin(capture, &err), XS_OK);
    for (uint32_t k = 0; k < NODES; k++) {
        uint64_t items = xs__command_items(&commands[k % 3]);
        CHECK_EQ(ops->launch(capture->stream, kernels[k % 3], 1000 + 5 * k, &err), XS_OK);
        sums[k % 3] += (1000 + 5 * k) % 1024;
        if (items > 0)
            sums[k % 3] += expected(commands[k % 3], (1000 + 5 * k) * 2654435761u % items, 3);
    }
    CHECK_EQ(xs_capture_end(capture, &handle, &err), XS_OK);
    rc = xs_graph_open(dev, handle, &graph, &err);
    if (rc != XS_OK)
        fprintf(stderr, "%s: %s\n", err.where, err.message);
    CHECK_EQ(rc, XS_OK);
    xs_graph_describe(graph, &info);
    CHECK_EQ(info.nodes, NODES);
    CHECK_EQ(info.kernels, NODES);
    CHECK_EQ(info.cuts, NODES);
    for (uint32_t i = 0; i < NODES; i++) {
        const char *name = xs_graph_kernel(graph, i);
        CHECK(name[0] == '\0' || strstr(name, i % 3 == 2 ? "xs_spin" : "xs_") != NULL);
    }
    struct xs_stream *stream = stream_of(0);
    const uint32_t sizes[] = {NODES, 1, 5};
    for (int i = 0; i < 3; i++)
        run_in_pieces(graph, stream, sizes[i]);
    CHECK_EQ(xs_graph_launch(graph, &err), XS_OK); /* once more, in pieces of 5 */
    do
        rc = xs_graph_wait(graph, 50 * MS, INT64_C(20000) * MS, ns, &err);
    while (rc == XS_EAGAIN);
    CHECK_EQ(rc, XS_OK);
    for (int i = 0; i < 3; i++)
        CHECK(ns[i] > 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(ops->results->checksum(kernels[i], &got, NULL), XS_OK);
        CHECK_EQ(got, 4 * sums[i]);
    }
    ops->stream_destroy(stream);
    xs_graph_close(graph);
    xs_capture_close(capture);
    for (int i = 0; i < 3; i++)
        ops->kernel_destroy(kernels[i]);
}

static void conforms(const char *kind)
{
    struct xs_device_info info;
    struct xs_device_options options = options_for(kind);
    struct xs_error err;
    options.index = 1000;
    CHECK_EQ(xs_device_open(kind, &options, &dev, &err), XS_ENODEV);
    CHECK(dev == NULL);

    dev = open_device(kind);
    if (dev == NULL)
        return;
    ops = dev->ops;
    now = 0;
    CHECK_EQ(xs_device_describe(dev, &info, NULL), XS_OK);
    CHECK(strcmp(info.kind, kind) == 0 && info.name[0] != '\0');
    CHECK(info.least_priority <= 0 && info.most_priority >= 0);
    CHECK_EQ(info.virtual_time, ops->virtual_time != NULL);
    CHECK_EQ(info.computes, ops->results != NULL);
    CHECK_EQ(ops->bind_thread(dev, NULL), XS_OK);
    marks_are_passed_in_order();
    a_stream_takes_as_many_as_promised();
    /* The order of launches: no driver guarantees it where commands of several streams may
     * execute at once. */
    if (info.parallel == 1)
        order_between_streams(0, 0, false);
    if (info.honour_priority == 1 && info.parallel == 1)
        order_between_streams(-5, 5, true);
    if (info.computes)
        computes();
    a_spin_may_take_a_share();
    if (ops->graphs != NULL)
        captured_commands_compute();
    destroying_waits();
    xs_device_close(dev);
}

int main(void)
{
    struct xs_device_options options = default_options();
    struct xs_error err;
    for (uint32_t i = 0; xs_device_kind(i) != NULL; i++)
        conforms(xs_device_kind(i));
    CHECK_EQ(xs_device_open("abacus", &options, &dev, &err), XS_EINVAL);
    CHECK(strstr(err.message, "abacus") != NULL);
    xs_device_close(NULL);
    return 0;
}

/* captured.h - what the test programs for captured graphs share: the fake driver's own calls
 * (doubles/driver/fake_graph.c), a device on it, and graphs made of its kernels. */
#ifndef XS_CAPTURED_H
#define XS_CAPTURED_H

#include <dlfcn.h>

#include "check.h"
#include "devices/device.h"

/* The fake driver's calls and levers. */
#define CALLS(X)                                                                                   \
    X(xs_fake_fault, (const char *text))                                                           \
    X(xs_fake_has_failed, (void))                                                                  \
    X(xs_fake_calls, (void))                                                                       \
    X(xs_fake_alive, (void))                                                                       \
    X(xs_fake_hangs, (void))                                                                       \
    X(xs_fake_node, (void *stream, int type))                                                      \
    X(xs_fake_reverse, (void *graph))                                                              \
    X(cuModuleLoadData, (void **module, const void *image))                                        \
    X(cuModuleUnload, (void *module))                                                              \
    X(cuModuleGetFunction, (void **function, void *module, const char *name))                      \
    X(cuLaunchKernel,                                                                              \
      (void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,            \
       unsigned bz, unsigned shared, void *stream, void **parameters, void **extra))               \
    X(cuMemAlloc_v2, (uint64_t *pointer, size_t bytes))                                            \
    X(cuMemFree_v2, (uint64_t pointer))                                                            \
    X(cuMemsetD8Async, (uint64_t pointer, unsigned char value, size_t count, void *stream))        \
    X(cuStreamCreateWithPriority, (void **stream, unsigned flags, int priority))                   \
    X(cuStreamDestroy_v2, (void *stream))                                                          \
    X(cuStreamSynchronize, (void *stream))                                                         \
    X(cuStreamWaitEvent, (void *stream, void *event, unsigned flags))                              \
    X(cuEventCreate, (void **event, unsigned flags))                                               \
    X(cuEventDestroy_v2, (void *event))                                                            \
    X(cuEventRecord, (void *event, void *stream))                                                  \
    X(cuEventQuery, (void *event))                                                                 \
    X(cuGraphInstantiateWithFlags, (void **exec, void *graph, unsigned long long flags))           \
    X(cuGraphExecDestroy, (void *exec))                                                            \
    X(cuGraphLaunch, (void *exec, void *stream))

#define DECLARE(name, parameters) static int(*name) parameters;
#define FIND(name, parameters) *(void **)&name = dlsym(fake, #name);

CALLS(DECLARE)

enum {
    LIST = 4096 /* numbers that fit */
};

#define SECOND INT64_C(1000000000)

static const char source[] = "__global__ step step_early step_library turn xs_spin";

static const char *kind; /* of dev */
static struct xs_device *dev;
static void *module;
/* list[0]: how many numbers the kernels `step` wrote; then the numbers */
static int64_t *list;

static inline void open_all(const char *which)
{
    struct xs_error err = {0};
    kind = which;
    CHECK(xs_fake_fault(NULL));
    dev = open_device(kind);
    CHECK(dev != NULL);
    CHECK_EQ(dev->ops->bind_thread(dev, &err), XS_OK);
    CHECK_EQ(cuModuleLoadData(&module, source), 0);
    CHECK_EQ(cuMemAlloc_v2((uint64_t *)&list, (LIST + 1) * sizeof *list), 0);
    list[0] = 0;
}

/* The fake driver ends the process if an object is left. */
static inline void close_all(void)
{
    CHECK_EQ(cuMemFree_v2((uint64_t)list), 0);
    CHECK_EQ(cuModuleUnload(module), 0);
    xs_device_close(dev);
    CHECK_EQ(xs_fake_alive(), 0);
}

static inline void launch(void *stream, const char *name, void **parameters)
{
    void *function;
    CHECK_EQ(cuModuleGetFunction(&function, module, name), 0);
    CHECK_EQ(cuLaunchKernel(function, 2, 1, 1, 32, 1, 1, 0, stream, parameters, NULL), 0);
}

static inline void launch_step(void *stream, const char *name, int64_t value)
{
    void *parameters[] = {&list, &value};
    launch(stream, name, parameters);
}

static inline void step(void *stream, int64_t value)
{
    launch_step(stream, "step", value);
}

/* What a library does with a counter in the workspace of a stream. */
static inline void turn(void *stream, uint64_t counter, size_t clear)
{
    void *parameters[] = {&counter};
    if (clear > 0)
        CHECK_EQ(cuMemsetD8Async(counter, 0, clear, stream), 0);
    launch(stream, "turn", parameters);
}

/* Let stream `to` wait for what was launched on stream `from`. */
static inline void follow(void *to, void *from)
{
    void *event;
    CHECK_EQ(cuEventCreate(&event, 2), 0);
    CHECK_EQ(cuEventRecord(event, from), 0);
    CHECK_EQ(cuStreamWaitEvent(to, event, 0), 0);
    CHECK_EQ(cuEventDestroy_v2(event), 0);
}

static inline struct xs_capture *begin(void)
{
    struct xs_capture *capture;
    struct xs_error err = {0};
    CHECK_EQ(xs_capture_open(dev, NULL, 0, &capture, &err), XS_OK);
    CHECK_EQ(xs_capture_begin(capture, &err), XS_OK);
    return capture;
}

static inline struct xs_graph *read_graph(struct xs_capture *capture)
{
    struct xs_error err = {0};
    struct xs_graph *graph;
    void *handle;
    CHECK_EQ(xs_capture_end(capture, &handle, &err), XS_OK);
    int rc = xs_graph_open(dev, handle, &graph, &err);
    if (rc != XS_OK)
        fprintf(stderr, "%s: %s\n", err.where, err.message);
    CHECK_EQ(rc, XS_OK);
    return graph;
}

static inline struct xs_capture *capture_chain(int64_t count)
{
    struct xs_capture *capture = begin();
    for (int64_t i = 1; i <= count; i++)
        step(xs_capture_stream(capture), i);
    return capture;
}

static inline struct xs_graph_info info_of(const struct xs_graph *graph)
{
    struct xs_graph_info info;
    xs_graph_describe(graph, &info);
    return info;
}

static inline void cut(struct xs_graph *graph, const uint32_t *ends, uint32_t count)
{
    struct xs_error err = {0};
    int rc = xs_graph_cut(graph, ends, count, &err);
    if (rc != XS_OK)
        fprintf(stderr, "%s: %s\n", err.where, err.message);
    CHECK_EQ(rc, XS_OK);
    CHECK_EQ(info_of(graph).segments, count);
}

/* Cut wherever it is allowed. */
static inline uint32_t cut_everywhere(struct xs_graph *graph)
{
    uint32_t ends[XS_COMMANDS_MAX], count = info_of(graph).cuts;
    for (uint32_t i = 0; i < count; i++)
        ends[i] = xs_graph_cut_at(graph, i);
    cut(graph, ends, count);
    return count;
}

/* Run one request; fill the times of its segments. */
static inline int time_request(struct xs_graph *graph, int64_t *ns, struct xs_error *err)
{
    int rc = xs_graph_launch(graph, err);
    if (rc == XS_OK)
        do
            rc = xs_graph_wait(graph, 50 * MS, 60 * SECOND, ns, err);
        while (rc == XS_EAGAIN);
    return rc;
}

static inline void check_list(int64_t count)
{
    CHECK_EQ(list[0], count);
    for (int64_t i = 1; i <= count; i++)
        CHECK_EQ(list[i], i);
    list[0] = 0;
}

/* Find the fake driver's calls; false: the drivers are others. */
static inline bool find_fake(void)
{
    const char *path = getenv("XS_TEST_CUDA_DRIVER");
    void *fake = path != NULL ? dlopen(path, RTLD_NOW) : NULL;
    if (fake == NULL || dlsym(fake, "xs_fake_fault") == NULL || !getenv("XS_TEST_HIP_DRIVER")) {
        printf("XS_TEST_CUDA_DRIVER is not the fake driver\n");
        return false;
    }
    CALLS(FIND)
    return true;
}

#endif

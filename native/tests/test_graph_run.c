/* test_graph_run.c - segments of captured graphs on the fake driver, for cuda and hip: as commands
 * of a run, in the two traps that hang a GPU, and with a driver whose calls fail. */
#include <sys/wait.h>
#include <unistd.h>

#include "captured.h"

/* ---- traps ------------------------------------------------------------------------------- */

/* Trap 1: a kernel waits for a counter that an earlier node clears. */
static void a_segment_alone_would_hang_and_timing_never_does(void)
{
    uint64_t counter;
    void *stream;
    int64_t ns[3];
    CHECK_EQ(cuMemAlloc_v2(&counter, sizeof(int)), 0);
    struct xs_capture *capture = begin();
    turn(xs_capture_stream(capture), counter, sizeof(int));
    step(xs_capture_stream(capture), 1);
    struct xs_graph *graph = read_graph(capture);
    CHECK_EQ(cut_everywhere(graph), 3); /* memset, turn, step */
    int before = xs_fake_hangs();
    for (int i = 0; i < 20; i++)
        CHECK_EQ(time_request(graph, ns, NULL), XS_OK);
    CHECK_EQ(xs_fake_hangs(), before);
    list[0] = 0;

    /* Now the second segment alone, as it must never run. */
    const struct xs_command command = {.kind = XS_SEGMENT, .n = 1, .batch = 1, .graph = graph};
    struct xs_stream *alone;
    struct xs_kernel *kernel;
    CHECK_EQ(dev->ops->stream_create(dev, 0, &alone, NULL), XS_OK);
    CHECK_EQ(dev->ops->kernel_create(alone, &command, 0, &kernel, NULL), XS_OK);
    CHECK_EQ(dev->ops->launch(alone, kernel, 0, NULL), XS_OK);
    CHECK_EQ(dev->ops->mark(alone, 0, NULL), XS_OK);
    CHECK_EQ(dev->ops->passed(alone, 0, NULL), XS_EAGAIN);
    CHECK_EQ(xs_fake_hangs(), before + 1);
    stream = dev->ops->stream_handle(alone);
    CHECK_EQ(cuStreamSynchronize(stream), 702);
    dev->ops->stream_destroy(alone);
    dev->ops->kernel_destroy(kernel);
    xs_graph_close(graph);
    xs_capture_close(capture);
    CHECK_EQ(cuMemFree_v2(counter), 0);
}

/* What waits for a graph that hangs returns after the limit, and the device is given up. */
static void a_graph_that_hangs_is_an_error_and_not_a_hang(void)
{
    const uint32_t whole[] = {1};
    uint64_t counter;
    int64_t ns[1];
    struct xs_error err = {0};
    open_all("cuda");
    CHECK_EQ(cuMemAlloc_v2(&counter, sizeof(int)), 0);
    *(int *)counter = 1;               /* the memory of the fake device is that of the host */
    static struct xs_capture *capture; /* everything stays as it is, and is no leak */
    static struct xs_graph *graph;
    capture = begin();
    turn(xs_capture_stream(capture), counter, 0); /* nothing clears the counter */
    graph = read_graph(capture);
    cut(graph, whole, 1);
    CHECK_EQ(xs_graph_launch(graph, &err), XS_OK);
    CHECK_EQ(xs_graph_wait(graph, MS, 60 * SECOND, ns, &err), XS_EAGAIN);
    CHECK_EQ(xs_graph_wait(graph, SECOND, 2 * MS, ns, &err), XS_EDEVICE);
    CHECK(strstr(err.message, "the GPU hangs: the captured graph, cut into 1, did not") != NULL);
    CHECK(dev->lost);
    CHECK_EQ(xs_graph_launch(graph, &err), XS_EDEVICE);
    CHECK(strstr(err.message, "hangs since an earlier call") != NULL);
    xs_graph_close(graph);     /* nothing waits */
    xs_capture_close(capture); /* for the device */
    xs_device_close(dev);
}

/* ---- running under a run ----------------------------------------------------------------- */

enum {
    REQUESTS = 3,
    SEGMENTS = 3
};

static const uint32_t three[SEGMENTS] = {2, 3, 6};

struct load {
    int64_t arrivals[REQUESTS];
    struct xs_sample samples[REQUESTS];
    struct xs_command commands[SEGMENTS];
    struct xs_queue *queue;
};

/* Add a queue with three requests of three segments. */
static int add(struct xs_run *run, struct load *load, struct xs_graph *graph, struct xs_error *err)
{
    memset(load, 0, sizeof *load);
    for (uint32_t i = 0; i < SEGMENTS; i++)
        load->commands[i] =
            (struct xs_command){.kind = XS_SEGMENT, .n = i, .batch = 1, .graph = graph};
    const struct xs_queue_spec spec = {.name = "q",
                                       .threshold = 2,
                                       .batch_size = 1,
                                       .command_count = SEGMENTS,
                                       .commands = load->commands,
                                       .load = {.kind = XS_LOAD_OPEN,
                                                .arrivals_ns = load->arrivals,
                                                .arrival_count = REQUESTS,
                                                .samples = load->samples,
                                                .sample_cap = REQUESTS}};
    return xs_queue_add(run, &spec, &load->queue, err);
}

static int finish(struct xs_run *run, struct xs_error *err)
{
    const struct xs_timing timing = {.duration_ns = MS, .drain_ns = 5 * SECOND};
    int rc = xs_run_start(run, &timing, err);
    return rc == XS_OK ? wait_run(run, err) : rc;
}

static void a_segment_that_is_not_there_is_refused(void)
{
    struct xs_capture *capture = capture_chain(6);
    struct xs_graph *graph = read_graph(capture);
    struct xs_error err = {0};
    struct load load;
    struct xs_run *run;
    CHECK_EQ(xs_run_open(dev, "hpf", &run, &err), XS_OK);
    CHECK_EQ(add(run, &load, graph, &err), XS_EINVAL);
    CHECK(strstr(err.message, "there is no segment 0 of the graph: it is cut into 0") != NULL);
    CHECK_EQ(add(run, &load, NULL, &err), XS_EINVAL);
    CHECK(strstr(err.message, "a segment needs a graph") != NULL);
    cut(graph, three, SEGMENTS);
    CHECK_EQ(add(run, &load, graph, &err), XS_OK);
    CHECK_EQ(xs_graph_cut(graph, three, SEGMENTS, &err), XS_EINVAL);
    CHECK(strstr(err.message, "a run still uses the segments of the graph") != NULL);
    CHECK_EQ(info_of(graph).segments, SEGMENTS);
    xs_run_close(run);
    cut(graph, three, SEGMENTS);
    xs_graph_close(graph);
    xs_capture_close(capture);
}

/* Both would write to the same memory. */
static void a_graph_is_for_one_queue(void)
{
    struct xs_capture *capture = capture_chain(6);
    struct xs_graph *graph = read_graph(capture);
    struct xs_error err = {0};
    struct load first, second;
    struct xs_run *run;
    cut(graph, three, SEGMENTS);
    CHECK_EQ(xs_run_open(dev, "hpf", &run, &err), XS_OK);
    CHECK_EQ(add(run, &first, graph, &err), XS_OK);
    CHECK_EQ(add(run, &second, graph, &err), XS_EINVAL);
    CHECK(strstr(err.message, "another queue uses the captured graph") != NULL);
    xs_run_close(run);
    CHECK_EQ(xs_run_open(dev, "hpf", &run, &err), XS_OK);
    CHECK_EQ(add(run, &second, graph, &err), XS_OK); /* the first one is gone */
    xs_run_close(run);
    xs_graph_close(graph);
    xs_capture_close(capture);
}

/* What a forked child does with a graph of its parent. */
static void in_a_fork(struct xs_graph *graph, struct xs_capture *capture)
{
    struct xs_error err = {0};
    struct xs_graph *another;
    int64_t ns[SEGMENTS];
    void *handle;
    alarm(30); /* a hang fails, too */
    CHECK_EQ(xs_graph_open(dev, graph, &another, &err), XS_EFORKED);
    CHECK(strstr(err.message, "fork") != NULL);
    CHECK_EQ(xs_graph_cut(graph, three, SEGMENTS, &err), XS_EFORKED);
    CHECK_EQ(xs_graph_launch(graph, &err), XS_EFORKED);
    CHECK_EQ(xs_graph_wait(graph, 0, SECOND, ns, &err), XS_EFORKED);
    CHECK_EQ(xs_capture_begin(capture, &err), XS_EFORKED);
    CHECK_EQ(xs_capture_end(capture, &handle, &err), XS_EINVAL);
    xs_graph_close(graph);
    xs_capture_close(capture);
    _exit(0);
}

static void a_fork_leaves_the_graphs_of_its_parent_alone(void)
{
    struct xs_capture *capture = capture_chain(6), *unused;
    struct xs_graph *graph = read_graph(capture);
    int64_t ns[SEGMENTS];
    int status;
    CHECK_EQ(xs_capture_open(dev, NULL, 0, &unused, NULL), XS_OK);
    cut(graph, three, SEGMENTS);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        in_a_fork(graph, unused);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    CHECK_EQ(time_request(graph, ns, NULL), XS_OK);
    check_list(6);
    xs_graph_close(graph);
    xs_capture_close(unused);
    xs_capture_close(capture);
}

/* The graph may be closed first: the run keeps the segments. */
static void segments_run_in_order_and_outlive_the_graph(void)
{
    struct xs_capture *capture = capture_chain(6);
    struct xs_graph *graph = read_graph(capture);
    struct xs_error err = {0};
    struct load load;
    struct xs_run *run;
    cut(graph, three, SEGMENTS);
    CHECK_EQ(xs_run_open(dev, "hpf", &run, &err), XS_OK);
    CHECK_EQ(add(run, &load, graph, &err), XS_OK);
    xs_graph_close(graph);
    CHECK_EQ(finish(run, &err), XS_OK);
    xs_run_close(run);
    CHECK_EQ(list[0], 6 * REQUESTS);
    for (int i = 0; i < 6 * REQUESTS; i++)
        CHECK_EQ(list[1 + i], 1 + i % 6);
    list[0] = 0;
    xs_capture_close(capture);
}

/* Trap 2: two graphs with one counter, as if both had been captured on one stream. */
static void graphs_that_share_a_workspace_would_hang_and_ours_have_their_own(void)
{
    for (int shared = 0; shared < 2; shared++) {
        struct xs_capture *captures[2];
        struct xs_graph *graphs[2];
        struct xs_stream *streams[2];
        struct xs_kernel *kernels[2][2];
        uint64_t counters[2];
        int before = xs_fake_hangs();
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(cuMemAlloc_v2(&counters[i], sizeof(int)), 0);
            captures[i] = begin();
            turn(xs_capture_stream(captures[i]), counters[shared ? 0 : i], sizeof(int));
            graphs[i] = read_graph(captures[i]);
            cut_everywhere(graphs[i]);
            CHECK_EQ(dev->ops->stream_create(dev, 0, &streams[i], NULL), XS_OK);
            for (uint32_t n = 0; n < 2; n++) {
                const struct xs_command command = {
                    .kind = XS_SEGMENT, .n = n, .batch = 1, .graph = graphs[i]};
                CHECK_EQ(dev->ops->kernel_create(streams[i], &command, 0, &kernels[i][n], NULL),
                         XS_OK);
            }
        }
        CHECK(xs_capture_stream(captures[0]) != xs_capture_stream(captures[1]));
        for (uint32_t n = 0; n < 2; n++) /* clear, clear, turn, turn */
            for (int i = 0; i < 2; i++)
                CHECK_EQ(dev->ops->launch(streams[i], kernels[i][n], 0, NULL), XS_OK);
        CHECK_EQ(xs_fake_hangs() - before, shared);
        for (int i = 0; i < 2; i++) {
            dev->ops->stream_destroy(streams[i]);
            dev->ops->kernel_destroy(kernels[i][0]);
            dev->ops->kernel_destroy(kernels[i][1]);
            xs_graph_close(graphs[i]);
            xs_capture_close(captures[i]);
            CHECK_EQ(cuMemFree_v2(counters[i]), 0);
        }
    }
}

/* The same for whole graphs: a GPU executes nodes of both at one time. The first one takes long
 * enough for the second to be launched meanwhile. */
static void whole_graphs_that_share_a_workspace_would_hang_too(void)
{
    uint64_t counter, iterations = 200 * MS, checksum;
    uint32_t argument = 0;
    void *spin_parameters[] = {&iterations, &argument, &checksum};
    void *streams[2], *execs[2], *handle;
    struct xs_capture *captures[2];
    int before = xs_fake_hangs();
    CHECK_EQ(cuMemAlloc_v2(&counter, sizeof(int)), 0);
    CHECK_EQ(cuMemAlloc_v2(&checksum, sizeof(int64_t)), 0);
    for (int i = 0; i < 2; i++) {
        captures[i] = begin();
        turn(xs_capture_stream(captures[i]), counter, sizeof(int));
        if (i == 0)
            launch(xs_capture_stream(captures[i]), "xs_spin", spin_parameters);
        CHECK_EQ(xs_capture_end(captures[i], &handle, NULL), XS_OK);
        CHECK_EQ(cuGraphInstantiateWithFlags(&execs[i], handle, 0), 0);
        CHECK_EQ(cuStreamCreateWithPriority(&streams[i], 1, 0), 0);
    }
    CHECK_EQ(cuGraphLaunch(execs[1], streams[1]), 0);
    CHECK_EQ(cuStreamSynchronize(streams[1]), 0);
    CHECK_EQ(cuGraphLaunch(execs[0], streams[0]), 0); /* one after the other */
    CHECK_EQ(xs_fake_hangs(), before);
    CHECK_EQ(cuGraphLaunch(execs[1], streams[1]), 0);
    CHECK_EQ(xs_fake_hangs(), before + 1);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(cuGraphExecDestroy(execs[i]), 0);
        CHECK_EQ(cuStreamDestroy_v2(streams[i]), 0);
        xs_capture_close(captures[i]);
    }
    CHECK_EQ(cuMemFree_v2(counter), 0);
    CHECK_EQ(cuMemFree_v2(checksum), 0);
}

/* ---- a driver whose calls fail ------------------------------------------------------------- */

static const char *const calls[] = {"cuCtxSetCurrent",
                                    "cuStreamCreateWithPriority",
                                    "cuStreamBeginCapture_v2",
                                    "cuStreamEndCapture",
                                    "cuGraphGetNodes",
                                    "cuGraphGetEdges_v2",
                                    "cuGraphNodeGetType",
                                    "cuGraphChildGraphNodeGetGraph",
                                    "cuGraphClone",
                                    "cuGraphNodeFindInClone",
                                    "cuGraphDestroyNode",
                                    "cuGraphInstantiateWithFlags",
                                    "cuGraphLaunch",
                                    "cuEventCreate",
                                    "cuEventRecord",
                                    "cuEventQuery",
                                    "cuEventElapsedTime",
                                    "cuMemAlloc_v2",
                                    "cuMemsetD8Async",
                                    "cuLaunchKernel",
                                    "cuStreamSynchronize"};

/* Six nodes, one of them a child graph. Return the status of the first call that fails. */
static int record(void *stream, void *function, void *child, struct xs_error *err)
{
    int64_t value = 1;
    void *parameters[] = {&list, &value};
    int result = 0;
    for (int i = 0; result == 0 && i < 5; i++)
        result = cuLaunchKernel(function, 2, 1, 1, 32, 1, 1, 0, stream, parameters, NULL);
    if (result == 0)
        result = cuGraphLaunch(child, stream);
    if (result == 0)
        return XS_OK;
    *err = (struct xs_error){.native = result};
    return XS_EDEVICE;
}

/* The caller closes the run, also after an error. */
static int time_and_run(struct xs_graph *graph, struct load *load, struct xs_run **run,
                        struct xs_error *err)
{
    int64_t ns[SEGMENTS];
    int rc = xs_graph_cut(graph, three, SEGMENTS, err);
    CHECK_EQ(info_of(graph).segments, rc == XS_OK ? SEGMENTS : 0);
    if (rc == XS_OK)
        rc = time_request(graph, ns, err);
    if (rc == XS_OK)
        rc = xs_run_open(dev, "hpf", run, err);
    if (rc == XS_OK)
        rc = add(*run, load, graph, err);
    return rc == XS_OK ? finish(*run, err) : rc;
}

/* Return whether the fault came. Then it is the error, and nothing is left. */
static int fails(const char *call, int n, int code, void *function, void *child)
{
    struct xs_capture *capture = NULL;
    struct xs_graph *graph = NULL;
    struct xs_run *run = NULL;
    struct load load;
    struct xs_error err = {0};
    void *handle = NULL;
    int before = xs_fake_alive();
    char text[80];
    snprintf(text, sizeof text, "%s:%d:%d", call, n, code);
    CHECK(xs_fake_fault(text));
    int rc = xs_capture_open(dev, NULL, 0, &capture, &err);
    if (rc == XS_OK)
        rc = xs_capture_begin(capture, &err);
    if (rc == XS_OK)
        rc = record(xs_capture_stream(capture), function, child, &err);
    if (rc == XS_OK)
        rc = xs_capture_end(capture, &handle, &err);
    if (rc == XS_OK)
        rc = xs_graph_open(dev, handle, &graph, &err);
    if (rc == XS_OK)
        rc = time_and_run(graph, &load, &run, &err);
    int failed = xs_fake_has_failed();
    if (rc != (failed ? XS_EDEVICE : XS_OK) || (failed && err.native != code)) {
        fprintf(stderr, "%s, %s: %d, %s: %s (%d)\n", kind, text, rc, err.where, err.message,
                err.native);
        exit(1);
    }
    CHECK(xs_fake_fault(NULL)); /* closing makes the device current */
    xs_run_close(run);
    xs_graph_close(graph);
    xs_capture_close(capture);
    CHECK_EQ(xs_fake_alive(), before);
    list[0] = 0;
    return failed;
}

/* Each call fails from its n-th time on, once as a mistake and once for good. */
static void every_call_may_fail(void)
{
    struct xs_capture *inner = capture_chain(2);
    void *handle, *child, *function;
    CHECK_EQ(xs_capture_end(inner, &handle, NULL), XS_OK);
    CHECK_EQ(cuGraphInstantiateWithFlags(&child, handle, 0), 0);
    CHECK_EQ(cuModuleGetFunction(&function, module, "step"), 0);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        for (int code = 1; code < 1000; code += 998) {
            int n = 1;
            while (fails(calls[i], n, code, function, child))
                n += 1 + n / 8; /* a stream makes a thousand events */
            CHECK(n > 1);
        }
    CHECK_EQ(cuGraphExecDestroy(child), 0);
    xs_capture_close(inner);
}

/* The names are for people: a driver that does not tell them is no error. */
static void a_driver_that_tells_no_names_is_enough(void)
{
    struct xs_capture *capture = capture_chain(3);
    CHECK(xs_fake_fault("cuGraphKernelNodeGetParams_v2:2:1"));
    struct xs_graph *graph = read_graph(capture);
    CHECK(xs_fake_fault(NULL));
    CHECK(strcmp(xs_graph_kernel(graph, 0), "step") == 0);
    CHECK_EQ(info_of(graph).kernels, 3);
    for (uint32_t i = 1; i < 4; i++)
        CHECK(strcmp(xs_graph_kernel(graph, i), "") == 0);
    xs_graph_close(graph);
    xs_capture_close(capture);
}

int main(void)
{
    if (!find_fake())
        return 77;
    for (int i = 0; i < 2; i++) {
        open_all(i == 0 ? "cuda" : "hip");
        a_segment_alone_would_hang_and_timing_never_does();
        a_segment_that_is_not_there_is_refused();
        a_graph_is_for_one_queue();
        a_fork_leaves_the_graphs_of_its_parent_alone();
        segments_run_in_order_and_outlive_the_graph();
        graphs_that_share_a_workspace_would_hang_and_ours_have_their_own();
        whole_graphs_that_share_a_workspace_would_hang_too();
        every_call_may_fail();
        a_driver_that_tells_no_names_is_enough();
        close_all();
    }
    a_graph_that_hangs_is_an_error_and_not_a_hang();
    return 0;
}

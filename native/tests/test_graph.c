/* test_graph.c - captured graphs on the fake driver, for cuda and, through hip_on_cuda.c, for hip:
 * capturing, cutting, timing, and what is refused. */
#include "captured.h"

enum {
    CHAIN = 300
};

/* ---- order, cuts, names ------------------------------------------------------------- */

static void a_chain_runs_in_order_however_it_is_cut(void)
{
    const uint32_t thirds[] = {1, 7, 9}, whole[] = {9};
    struct xs_capture *capture = capture_chain(9);
    struct xs_graph *graph = read_graph(capture);
    int64_t ns[9];
    check_list(0); /* captured, not executed */
    CHECK_EQ(info_of(graph).nodes, 9);
    CHECK_EQ(info_of(graph).kernels, 9);
    CHECK_EQ(info_of(graph).cuts, 9);
    CHECK_EQ(info_of(graph).segments, 0);
    for (uint32_t i = 0; i < 9; i++) {
        CHECK(strcmp(xs_graph_kernel(graph, i), "step") == 0);
        CHECK_EQ(xs_graph_cut_at(graph, i), i + 1);
    }
    cut(graph, thirds, 3);
    CHECK_EQ(time_request(graph, ns, NULL), XS_OK);
    check_list(9);
    CHECK(ns[0] > 9990 && ns[1] > 59990 && ns[2] > 19990); /* 1, 6 and 2 kernels of 10 us */
    cut(graph, whole, 1);
    CHECK_EQ(time_request(graph, ns, NULL), XS_OK);
    check_list(9);
    CHECK_EQ(cut_everywhere(graph), 9);
    CHECK_EQ(time_request(graph, ns, NULL), XS_OK);
    check_list(9);
    xs_graph_close(graph);
    xs_capture_close(capture);
}

/* A driver may list the nodes in any order. */
static void the_order_is_that_of_the_edges(void)
{
    struct xs_capture *capture = begin();
    struct xs_graph *graph;
    void *handle;
    int64_t ns[5];
    for (int64_t i = 1; i <= 4; i++)
        launch_step(xs_capture_stream(capture), i == 2 ? "step_early" : "step", i);
    CHECK_EQ(xs_capture_end(capture, &handle, NULL), XS_OK);
    CHECK_EQ(xs_fake_reverse(handle), 0);
    CHECK_EQ(xs_graph_open(dev, handle, &graph, NULL), XS_OK);
    for (uint32_t i = 0; i < 4; i++)
        CHECK(strcmp(xs_graph_kernel(graph, i), i == 1 ? "step_early" : "step") == 0);
    CHECK_EQ(cut_everywhere(graph), 4);
    CHECK_EQ(time_request(graph, ns, NULL), XS_OK);
    check_list(4);
    xs_graph_close(graph);
    xs_capture_close(capture);
}

/* Each node is destroyed once for each time that the segments are halved. */
static void a_long_chain_is_halved_and_not_copied_for_every_segment(void)
{
    struct xs_capture *capture = capture_chain(CHAIN);
    struct xs_graph *graph = read_graph(capture);
    int64_t ns[CHAIN];
    CHECK(xs_fake_fault("cuGraphDestroyNode:1000000:999"));
    CHECK_EQ(cut_everywhere(graph), CHAIN);
    CHECK(xs_fake_calls() <= CHAIN * 9); /* 2^9 > 300 */
    CHECK(xs_fake_fault("cuGraphClone:1000000:999"));
    cut_everywhere(graph);
    CHECK_EQ(xs_fake_calls(), CHAIN);
    CHECK(xs_fake_fault(NULL));
    CHECK_EQ(time_request(graph, ns, NULL), XS_OK);
    check_list(CHAIN);
    xs_graph_close(graph);
    xs_capture_close(capture);
}

/* 1, then 2-3-4 next to 5-6, then 7; then 8 next to 9, and 10. */
static void forks_are_respected(void)
{
    struct xs_capture *capture = begin();
    void *main_stream = xs_capture_stream(capture), *side;
    const uint32_t inside[] = {2, 10};
    struct xs_error err = {0};
    int64_t ns[10];
    CHECK_EQ(cuStreamCreateWithPriority(&side, 1, 0), 0);
    step(main_stream, 1);
    follow(side, main_stream);
    for (int64_t i = 2; i <= 4; i++)
        step(main_stream, i);
    step(side, 5);
    step(side, 6);
    follow(main_stream, side);
    step(main_stream, 7);
    follow(side, main_stream);
    step(main_stream, 8);
    step(side, 9);
    follow(main_stream, side);
    step(main_stream, 10);
    struct xs_graph *graph = read_graph(capture);
    CHECK_EQ(info_of(graph).nodes, 10);
    const uint32_t expected[] = {1, 6, 7, 9, 10};
    CHECK_EQ(info_of(graph).cuts, 5);
    for (uint32_t i = 0; i < 5; i++)
        CHECK_EQ(xs_graph_cut_at(graph, i), expected[i]);
    CHECK_EQ(xs_graph_cut(graph, inside, 2, &err), XS_EINVAL);
    CHECK(strstr(err.message, "cannot be cut after node 2: nodes on both sides of the cut may") !=
          NULL);
    cut_everywhere(graph);
    CHECK_EQ(time_request(graph, ns, NULL), XS_OK);
    CHECK_EQ(list[0], 10);
    CHECK(list[1] == 1 && list[7] == 7 && list[10] == 10);
    list[0] = 0;
    xs_graph_close(graph);
    xs_capture_close(capture);
    CHECK_EQ(cuStreamDestroy_v2(side), 0);
}

/* Edges of programmatic dependent launch; kernels of libraries, whose nodes have no CUfunction. */
static void early_kernels_and_kernels_of_libraries(void)
{
    static const char *const names[] = {"step", "step_early", "step_library", "step"};
    struct xs_capture *capture = begin();
    int64_t ns[4];
    for (int64_t i = 0; i < 4; i++)
        launch_step(xs_capture_stream(capture), names[i], i + 1);
    struct xs_graph *graph = read_graph(capture);
    for (uint32_t i = 0; i < 4; i++)
        CHECK(strcmp(xs_graph_kernel(graph, i), names[i]) == 0);
    for (uint32_t i = 0; i <= 5; i++)
        CHECK_EQ(xs_graph_kernels_before(graph, i), i < 4 ? i : 4);
    CHECK_EQ(cut_everywhere(graph), 4);
    CHECK_EQ(time_request(graph, ns, NULL), XS_OK);
    check_list(4);
    xs_graph_close(graph);
    xs_capture_close(capture);
}

/* A graph that was launched while another was captured is a node of it. */
static void a_child_graph_is_one_node(void)
{
    struct xs_capture *inner = capture_chain(3);
    void *handle, *exec;
    int64_t ns[3];
    CHECK_EQ(xs_capture_end(inner, &handle, NULL), XS_OK);
    CHECK_EQ(cuGraphInstantiateWithFlags(&exec, handle, 0), 0);
    struct xs_capture *capture = begin();
    CHECK_EQ(cuGraphLaunch(exec, xs_capture_stream(capture)), 0);
    step(xs_capture_stream(capture), 4);
    struct xs_graph *graph = read_graph(capture);
    CHECK_EQ(info_of(graph).nodes, 2);
    CHECK_EQ(info_of(graph).kernels, 4);
    cut_everywhere(graph);
    CHECK_EQ(time_request(graph, ns, NULL), XS_OK);
    check_list(4);
    xs_graph_close(graph);
    xs_capture_close(capture);
    CHECK_EQ(cuGraphExecDestroy(exec), 0);
    xs_capture_close(inner);
}

/* ---- what is refused ------------------------------------------------------------------ */

static void refuses(const int *types, size_t count, const char *sentence)
{
    struct xs_capture *capture = begin();
    struct xs_error err = {0};
    struct xs_graph *graph;
    void *handle;
    step(xs_capture_stream(capture), 1);
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(xs_fake_node(xs_capture_stream(capture), types[i]), 0);
    CHECK_EQ(xs_capture_end(capture, &handle, &err), XS_OK);
    CHECK_EQ(xs_graph_open(dev, handle, &graph, &err), sentence != NULL ? XS_EINVAL : XS_OK);
    if (sentence != NULL) {
        char expected[400];
        snprintf(expected, sizeof expected,
                 "the captured graph has %s; with such nodes it cannot run in segments, again and "
                 "again",
                 sentence);
        if (strcmp(err.message, expected) != 0)
            fprintf(stderr, "%s\n", err.message);
        CHECK(strcmp(err.message, expected) == 0);
        CHECK(graph == NULL);
    }
    xs_graph_close(graph);
    xs_capture_close(capture);
}

static void nodes_that_cannot_be_cut_are_named_and_counted(void)
{
    static const struct {
        int cuda, hip; /* the number of the type; -1: there is none */
        const char *sentence;
    } types[] = {{3, 3, "1 host function node"},
                 {6, 6, "1 event wait node"},
                 {7, 7, "1 event record node"},
                 {8, 8, "1 semaphore signal node"},
                 {9, 9, "1 semaphore wait node"},
                 {10, 10, "1 memory allocation node"},
                 {11, 11, "1 memory free node"},
                 {12, 14, "1 batch memory operation node"},
                 {13, -1, "1 conditional node"},
                 {77, 77, "1 unknown node"},
                 {1, 1, NULL},    /* copies, */
                 {5, 5, NULL},    /* empty nodes, */
                 {-1, 12, NULL},  /* copies from symbols */
                 {-1, 13, NULL}}; /* and to symbols can be cut */
    const int several[] = {3, 3, 10, 11, 3};
    bool is_hip = strcmp(kind, "hip") == 0;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        int type = is_hip ? types[i].hip : types[i].cuda;
        if (type >= 0)
            refuses(&type, 1, types[i].sentence);
    }
    refuses(several, 5, "3 host function nodes, 1 memory allocation node and 1 memory free node");
}

static void wrong_ends_are_refused(void)
{
    static const struct {
        uint32_t ends[3], count;
        const char *message;
    } wrong[] = {{{0}, 0, "0 segments; a graph has 1 to 4096 of them"},
                 {{4, 5}, 2, "cannot be cut after node 5"},
                 {{0, 4}, 2, "cannot be cut after node 0"},
                 {{2}, 1, "the last segment ends after node 2, but the graph has 4 nodes"},
                 {{3, 2, 4}, 3, "the ends of the segments must ascend: 2 follows 3"},
                 {{2, 2, 4}, 3, "the ends of the segments must ascend: 2 follows 2"}};
    struct xs_capture *capture = capture_chain(4);
    struct xs_graph *graph = read_graph(capture);
    struct xs_error err = {0};
    int64_t ns[1];
    CHECK_EQ(xs_graph_launch(graph, &err), XS_EINVAL);
    CHECK(strstr(err.message, "the graph has not been cut") != NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_EQ(xs_graph_cut(graph, wrong[i].ends, wrong[i].count, &err), XS_EINVAL);
        CHECK(strstr(err.message, wrong[i].message) != NULL);
    }
    cut_everywhere(graph);
    CHECK_EQ(xs_graph_wait(graph, 0, SECOND, (int64_t[4]){0}, &err), XS_EINVAL);
    CHECK(strstr(err.message, "the graph has not been launched") != NULL);
    (void)ns;
    xs_graph_close(graph);
    xs_capture_close(capture);
}

static void captures_that_fail_say_why(void)
{
    struct xs_capture *capture;
    struct xs_graph *graph;
    struct xs_error err = {0};
    uint64_t memory;
    void *handle, *side;
    CHECK_EQ(xs_capture_open(dev, NULL, 0, &capture, &err), XS_OK);
    CHECK_EQ(xs_capture_end(capture, &handle, &err), XS_EINVAL);
    CHECK(strstr(err.message, "the capture has not begun") != NULL);
    CHECK_EQ(xs_capture_begin(capture, &err), XS_OK);
    CHECK_EQ(xs_capture_begin(capture, &err), XS_EINVAL);
    CHECK(strstr(err.message, "has not ended") != NULL);
    CHECK_EQ(xs_capture_end(capture, &handle, &err), XS_OK);
    CHECK_EQ(xs_graph_open(dev, handle, &graph, &err), XS_EINVAL);
    CHECK(strstr(err.message, "the captured graph is empty: nothing was launched") != NULL);
    CHECK_EQ(xs_graph_open(dev, NULL, &graph, &err), XS_EINVAL);
    xs_capture_close(capture);

    capture = begin(); /* closed in the middle */
    step(xs_capture_stream(capture), 1);
    xs_capture_close(capture);

    capture = begin(); /* waiting, and allocating, cannot be captured */
    CHECK_EQ(cuStreamSynchronize(xs_capture_stream(capture)), 900);
    CHECK_EQ(xs_capture_end(capture, &handle, &err), XS_EDEVICE);
    CHECK(strstr(err.message, "previous error during capture") != NULL);
    CHECK(handle == NULL);
    xs_capture_close(capture);
    capture = begin();
    CHECK_EQ(cuMemAlloc_v2(&memory, 8), 900);
    CHECK_EQ(xs_capture_end(capture, &handle, &err), XS_EDEVICE);
    xs_capture_close(capture);

    capture = begin(); /* a fork that does not come back */
    CHECK_EQ(cuStreamCreateWithPriority(&side, 1, 0), 0);
    step(xs_capture_stream(capture), 1);
    follow(side, xs_capture_stream(capture));
    step(side, 2);
    CHECK_EQ(xs_capture_end(capture, &handle, &err), XS_EDEVICE);
    CHECK(strstr(err.message, "unjoined work") != NULL);
    xs_capture_close(capture);
    CHECK_EQ(cuStreamDestroy_v2(side), 0);
}

static void devices_without_graphs_say_so(const char *which)
{
    struct xs_device_options options = default_options();
    struct xs_device *other;
    struct xs_error err = {0};
    struct xs_graph *graph;
    struct xs_capture *capture;
    char expected[128];
    CHECK_EQ(xs_device_open(which, &options, &other, &err), XS_OK);
    snprintf(expected, sizeof expected,
             "the %s device has no graphs that could be captured; cuda and hip have", which);
    CHECK_EQ(xs_graph_open(other, &options, &graph, &err), XS_ENOTSUP);
    CHECK(graph == NULL && strcmp(err.message, expected) == 0);
    CHECK_EQ(xs_capture_open(other, NULL, 0, &capture, &err), XS_ENOTSUP);
    CHECK(capture == NULL && strcmp(err.message, expected) == 0);
    xs_device_close(other);
}

int main(void)
{
    if (!find_fake())
        return 77;
    for (int i = 0; i < 2; i++) {
        open_all(i == 0 ? "cuda" : "hip");
        a_chain_runs_in_order_however_it_is_cut();
        the_order_is_that_of_the_edges();
        a_long_chain_is_halved_and_not_copied_for_every_segment();
        forks_are_respected();
        early_kernels_and_kernels_of_libraries();
        a_child_graph_is_one_node();
        nodes_that_cannot_be_cut_are_named_and_counted();
        wrong_ends_are_refused();
        captures_that_fail_say_why();
        close_all();
    }
    devices_without_graphs_say_so("cpu");
    devices_without_graphs_say_so("sim");
    return 0;
}

/* test_command.c - commands as values: which ones are refused, which are equal, and that
 * copies are complete; and kernels of users on a device that cannot compile them. */
#include "check.h"
#include "devices/device.h"

static const struct xs_argument arguments[] = {{.kind = XS_BUFFER, .integer = 100},
                                               {.kind = XS_INT64, .integer = -5},
                                               {.kind = XS_FLOAT32, .real = 0.5f}};
static const struct xs_source source = {.text = "text",
                                        .name = "name",
                                        .grid = {4, 1, 1},
                                        .block = {32, 2, 1},
                                        .argument_count = 3,
                                        .arguments = arguments};

static struct xs_command kernel(const struct xs_source *of)
{
    struct xs_command command = {.kind = XS_KERNEL, .batch = 1, .source = of};
    return command;
}

static void refused(const struct xs_source *bad, const char *word)
{
    struct xs_command command = kernel(bad);
    struct xs_error err = {0};
    CHECK_EQ(xs__command_check(&command, &err), XS_EINVAL);
    if (strstr(err.message, word) == NULL)
        fprintf(stderr, "'%s' does not say '%s'\n", err.message, word);
    CHECK(strstr(err.message, word) != NULL);
}

static void bad_kernels_are_refused(void)
{
    struct xs_command good = kernel(&source);
    struct xs_argument wrong[3];
    struct xs_source bad = source;
    CHECK_EQ(xs__command_check(&good, NULL), XS_OK);
    refused(NULL, "needs a source text");
    bad.text = NULL, refused(&bad, "needs a source text");
    bad = source, bad.name = NULL, refused(&bad, "needs a source text");
    bad = source, bad.arguments = NULL, refused(&bad, "arguments are missing");
    bad = source, bad.grid[2] = 0, refused(&bad, "4 x 1 x 0 blocks");
    bad = source, bad.block[0] = 0, refused(&bad, "of 0 x 2 x 1 threads");
    bad = source, bad.argument_count = XS_ARGUMENTS_MAX + 1, refused(&bad, "65 arguments");
    bad = source, bad.arguments = wrong;
    memcpy(wrong, arguments, sizeof wrong);
    wrong[1].kind = 9, refused(&bad, "argument 1 has no valid kind and value: kind 9");
    memcpy(wrong, arguments, sizeof wrong);
    wrong[0].integer = 0, refused(&bad, "kind 1, value 0");
    wrong[0].integer = INT64_C(2147483648), refused(&bad, "2147483648");
}

static bool equal(const struct xs_source *a, const struct xs_source *b)
{
    struct xs_command of_a = kernel(a), of_b = kernel(b);
    return xs__command_equal(&of_a, &of_b) && xs__command_equal(&of_b, &of_a);
}

static void equal_is_all_of_it(void)
{
    struct xs_command copy, original = kernel(&source), other = spin(0);
    struct xs_argument changed[3];
    struct xs_source differs = source;
    CHECK_EQ(xs__command_copy(&original, &copy, NULL), XS_OK);
    CHECK(copy.source != &source && copy.source->text != source.text);
    CHECK(copy.source->arguments != source.arguments);
    CHECK(xs__command_equal(&original, &copy));
    CHECK(!xs__command_equal(&original, &other));
    differs.text = "texts";
    CHECK(!equal(&source, &differs));
    differs = source, differs.text = NULL;
    CHECK(!equal(&source, &differs));
    differs = source, differs.name = "nam";
    CHECK(!equal(&source, &differs));
    differs = source, differs.grid[1] = 2;
    CHECK(!equal(&source, &differs));
    differs = source, differs.block[1] = 1;
    CHECK(!equal(&source, &differs));
    differs = source, differs.argument_count = 2;
    CHECK(!equal(&source, &differs));
    for (int i = 0; i < 3; i++) {
        memcpy(changed, arguments, sizeof changed);
        differs = source, differs.arguments = changed;
        CHECK(equal(copy.source, &differs));
        if (i == 2)
            changed[i].real = 0.25f;
        else
            changed[i].integer++;
        CHECK(!equal(copy.source, &differs));
    }
    xs__command_free(&copy);
    CHECK(copy.source == NULL);

    struct xs_graph one, two; /* only their addresses matter */
    const struct xs_command segment = {.kind = XS_SEGMENT, .n = 1, .batch = 1, .graph = &one};
    struct xs_command another = segment;
    CHECK(xs__command_equal(&segment, &another));
    another.n = 2;
    CHECK(!xs__command_equal(&segment, &another));
    another = segment, another.graph = &two;
    CHECK(!xs__command_equal(&segment, &another));

    struct xs_command share = spin(7), waves = spin(7), same = spin(7);
    share.fill_permille = 5, waves.waves = 3, other = spin(7);
    CHECK(xs__command_equal(&other, &same));
    CHECK(!xs__command_equal(&other, &share) && !xs__command_equal(&other, &waves));
    CHECK_EQ(xs__command_copy(&share, &copy, NULL), XS_OK);
    CHECK(xs__command_equal(&share, &copy));
    xs__command_free(&copy);
}

static void a_device_that_runs_no_source_says_so(const char *kind)
{
    struct xs_device *dev = open_device(kind);
    struct xs_command command = kernel(&source);
    struct xs_sample sample;
    struct xs_error err = {0};
    struct xs_run *run;
    struct xs_queue *q;
    const struct xs_queue_spec spec = {
        .name = "q",
        .threshold = 1,
        .batch_size = 1,
        .command_count = 1,
        .commands = &command,
        .load = {.kind = XS_LOAD_CLOSED, .concurrency = 1, .samples = &sample, .sample_cap = 1}};
    CHECK_EQ(xs_run_open(dev, "none", &run, &err), XS_OK);
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_ENOTSUP);
    CHECK(strstr(err.message, "kernel 'name'") != NULL && strstr(err.message, kind) != NULL);
    xs_run_close(run);
    xs_device_close(dev);
}

/* A device that accepts sources: the cpu device, which spins instead. */
static struct xs_device_ops taking;
static int created;

static int take(struct xs_stream *stream, const struct xs_command *command, uint32_t seed,
                struct xs_kernel **out, struct xs_error *err)
{
    struct xs_command instead = spin(0);
    CHECK(strcmp(command->source->text, "text") == 0);
    created++;
    return xs_device_cpu.kernel_create(stream, &instead, seed, out, err);
}

/* A submitted source is copied, and the same source again is the same command. */
static void sources_are_copied(void)
{
    const struct xs_queue_spec spec = {
        .name = "q", .threshold = 4, .batch_size = 1, .load = {.kind = XS_LOAD_MANUAL}};
    const struct xs_timing timing = {0};
    struct xs_device_options options = default_options();
    struct xs_device *dev;
    struct xs_error err = {0};
    struct xs_run *run;
    struct xs_queue *q;
    taking = xs_device_cpu;
    taking.kernel_create = take;
    taking.runs_sources = true;
    CHECK_EQ(xs__device_open(&taking, &options, &dev, &err), XS_OK);
    CHECK_EQ(xs_run_open(dev, "hpf", &run, &err), XS_OK);
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
    for (uint64_t i = 0; i < 3; i++) {
        struct xs_command original = kernel(&source), passing;
        uint64_t ticket = 99;
        CHECK_EQ(xs__command_copy(&original, &passing, &err), XS_OK);
        CHECK_EQ(xs_queue_submit(q, &passing, 1, &ticket, &err), XS_OK);
        CHECK_EQ(ticket, i);
        xs__command_free(&passing); /* a sanitizer would report a leak */
        int rc;
        do
            rc = xs_queue_wait(q, ticket, 50 * MS, NULL, &err);
        while (rc == XS_EAGAIN);
        CHECK_EQ(rc, XS_OK);
    }
    CHECK_EQ(created, 1);
    xs_run_close(run);
    xs_device_close(dev);
}

int main(void)
{
    bad_kernels_are_refused();
    equal_is_all_of_it();
    a_device_that_runs_no_source_says_so("cpu");
    a_device_that_runs_no_source_says_so("sim");
    sources_are_copied();
    return 0;
}

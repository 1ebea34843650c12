/* test_opencl.c - what only the opencl device has: a compiler's log in an error, and an
 * output that is NaN until a command has written it. Skipped without OpenCL. */
#include "check.h"
#include "devices/opencl/opencl_device.h"

static void a_wrong_source_is_an_error_with_the_log(struct xs_opencl *cl)
{
    struct xs_error err = {0};
    void *program;
    CHECK_EQ(xs__opencl_build(cl, "__kernel void f(__global int *p) { *p = undeclared; }", &program,
                              &err),
             XS_EDEVICE);
    CHECK(strcmp(err.where, "opencl.compile") == 0);
    CHECK_EQ(err.native, -11); /* CL_BUILD_PROGRAM_FAILURE */
    CHECK(strstr(err.message, "undeclared") != NULL);
    CHECK(strchr(err.message, '\n') == NULL);
    CHECK(program != NULL);
    cl->api.ReleaseProgram(program);
}

static void output_is_poisoned_before(struct xs_opencl *cl, struct xs_command command)
{
    const struct xs_device_ops *ops = cl->base.ops;
    struct xs_stream *stream;
    struct xs_kernel *kernel;
    uint64_t items = xs__command_items(&command);
    int64_t sum = -1;
    float *out = malloc(items * sizeof *out);
    CHECK_EQ(ops->stream_create(&cl->base, 0, &stream, NULL), XS_OK);
    CHECK_EQ(ops->kernel_create(stream, &command, 3, &kernel, NULL), XS_OK);
    CHECK_EQ(ops->results->checksum(kernel, &sum, NULL), XS_OK);
    CHECK_EQ(sum, 0);
    CHECK_EQ(ops->results->output(kernel, out, items, NULL), XS_OK);
    for (uint64_t i = 0; i < items; i++)
        CHECK(out[i] != out[i]); /* NaN */
    ops->stream_destroy(stream);
    ops->kernel_destroy(kernel);
    free(out);
}

int main(void)
{
    const struct xs_command add = {.kind = XS_VECTOR_ADD, .n = 1000, .batch = 1};
    struct xs_device *dev = open_device("opencl");
    if (dev == NULL)
        return 77;
    a_wrong_source_is_an_error_with_the_log((struct xs_opencl *)dev);
    output_is_poisoned_before((struct xs_opencl *)dev, add);
    output_is_poisoned_before((struct xs_opencl *)dev, matmul(70, 2));
    xs_device_close(dev);
    return 0;
}

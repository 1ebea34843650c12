/* opencl_device.h - what the files of the opencl device share. device_opencl.c finds the
 * device, compiles the kernels, and has streams and marks; opencl_commands.c has commands and
 * their results. */
#ifndef XS_OPENCL_DEVICE_H
#define XS_OPENCL_DEVICE_H

#include "devices/device.h"
#include "devices/kernels/gpu_kernels.h"
#include "devices/opencl/opencl_api.h"

struct xs_opencl {
    struct xs_device base;
    struct xs_opencl_api api;
    void *device, *context, *program;
    void *setup; /* queue for filling and reading memory, which never waits for a busy queue */
    char name[128];
    uint32_t processors;      /* compute units */
    uint32_t spin_threads;    /* threads of a work-group of xs_spin */
    bool on_host;             /* a CPU */
    bool has_priorities;      /* cl_khr_priority_hints */
    double iterations_per_ns; /* of xs_spin */
};

struct xs_stream {
    struct xs_opencl *cl;
    void *queue;
    void *last;                    /* event of the last launch; NULL: none yet */
    void *marks[XS_THRESHOLD_MAX]; /* event of the last launch before the mark */
};

struct xs_kernel {
    struct xs_opencl *cl;
    struct xs_stream *stream; /* destroyed before the kernel */
    struct xs_command command;
    enum xs_gpu_function function;
    uint64_t items, iterations;
    void *kernel;                 /* of its own, because setting arguments is not thread-safe */
    void *a, *b, *out, *checksum; /* buffers */
};

/* Return from the function with the error of OpenCL, if there is one. */
#define TRY(cl, call, what)                                                                        \
    do {                                                                                           \
        int try_rc = xs__opencl_status((cl)->api.call, what, err);                                 \
        if (try_rc != XS_OK)                                                                       \
            return try_rc;                                                                         \
    } while (0)

/* Compile `source` for the device. An error carries the end of the build log. The caller
 * releases *program if it is not NULL, also after an error. */
int xs__opencl_build(struct xs_opencl *cl, const char *source, void **program,
                     struct xs_error *err);

/* ---- opencl_commands.c, as in struct xs_device_ops -------------------------- */

int xs__opencl_kernel_create(struct xs_stream *stream, const struct xs_command *command,
                             uint32_t seed, struct xs_kernel **out, struct xs_error *err);
void xs__opencl_kernel_destroy(struct xs_kernel *kernel);
int xs__opencl_launch(struct xs_stream *stream, struct xs_kernel *kernel, uint32_t argument,
                      struct xs_error *err);
int xs__opencl_checksum(struct xs_kernel *kernel, int64_t *out, struct xs_error *err);
int xs__opencl_output(struct xs_kernel *kernel, float *out, uint64_t count, struct xs_error *err);

/* Measure cl->iterations_per_ns with a kernel of XS_SPIN. */
int xs__opencl_measure_spin(struct xs_opencl *cl, struct xs_kernel *kernel, struct xs_error *err);

#endif

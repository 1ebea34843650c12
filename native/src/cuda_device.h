/* cuda_device.h - what the two halves of the cuda device share: device_cuda.c
 * (device, streams, marks) and cuda_commands.c (commands and their results). */
#ifndef XS_CUDA_DEVICE_H
#define XS_CUDA_DEVICE_H

#include "cuda_api.h"
#include "device.h"

struct cuda {
    struct xs_device base;
    struct xs_cuda_api api;
    int device; /* CUdevice */
    bool retained;
    void *context, *module;
    void *setup; /* stream on which memory is filled, so that no busy stream is waited for */
    void *fill, *matmul, *vector_add, *spin; /* functions of the module */
    int least, greatest;                     /* stream priorities */
    uint32_t processors;
    double iterations_per_ns; /* of xs_spin */
    char name[96];
};

struct xs_stream {
    struct cuda *cuda;
    void *stream;
    void *marks[XS_THRESHOLD_MAX]; /* events */
};

struct xs_kernel {
    struct cuda *cuda;
    struct xs_stream *stream; /* gone before the kernel is */
    struct xs_command command;
    uint64_t items;
    uint64_t a, b, out, checksum; /* device memory */
    uint64_t iterations;
};

/* Return from the function with the driver's error, if there is one. */
#define TRY(cuda, call, where)                                                                     \
    do {                                                                                           \
        int try_rc = xs__cuda_status(&(cuda)->api, (cuda)->api.call, "cuda." where, err);          \
        if (try_rc != XS_OK)                                                                       \
            return try_rc;                                                                         \
    } while (0)

/* As in struct xs_device_ops. */
int xs__cuda_kernel_create(struct xs_stream *stream, const struct xs_command *command,
                           uint32_t seed, struct xs_kernel **out, struct xs_error *err);
void xs__cuda_kernel_destroy(struct xs_kernel *kernel);
int xs__cuda_launch(struct xs_stream *stream, struct xs_kernel *kernel, uint32_t argument,
                    struct xs_error *err);
int xs__cuda_checksum(struct xs_kernel *kernel, int64_t *out, struct xs_error *err);
int xs__cuda_output(struct xs_kernel *kernel, float *out, uint64_t count, struct xs_error *err);

/* Find cuda->iterations_per_ns with a kernel of XS_SPIN. */
int xs__cuda_measure_spin(struct cuda *cuda, struct xs_kernel *kernel, struct xs_error *err);

#endif

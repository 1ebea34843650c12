/* gpu_device.h - what the cuda and the hip device are both made of. device_*.c
 * finds the device and makes its context; streams and marks (gpu_streams.c) and
 * commands and their results (gpu_commands.c) are the same for both. */
#ifndef XS_GPU_DEVICE_H
#define XS_GPU_DEVICE_H

#include <pthread.h>

#include "devices/device.h"
#include "devices/gpu/gpu_driver.h"
#include "devices/kernels/gpu_kernels.h"

/* Which device it is, and what drives it; "" and 0: not known. */
struct xs_gpu_identity {
    char pci_id[32], uuid[48], driver_version[24], compiler_version[24];
    int64_t memory_bytes;
};

/* A device_*.c embeds this first. */
struct xs_gpu {
    struct xs_device base;
    struct xs_gpu_driver driver;
    int device; /* the driver's handle or number */
    char name[96], architecture[64];
    uint32_t processors;       /* multiprocessors, compute units */
    uint32_t units, unit_step; /* of them that streams can be bound to; see xs_device_info */
    /* From here on by xs__gpu_prepare(). */
    struct xs_gpu_identity identity;
    struct xs_rtc rtc;   /* open as long as the device is, so that it can be seen what compiled */
    int least, greatest; /* stream priorities; lower numbers go first */
    void *setup;         /* stream on which memory is filled, so that no busy one is waited for */
    char *cache;         /* directory of compiled kernels; NULL: none */
    struct xs_gpu_module *modules; /* of users' sources */
    pthread_mutex_t modules_lock;  /* over modules */
    void *module, *functions[XS_GPU_FUNCTIONS];
    /* Only with units; make stream->stream, and undo stream->partition. */
    int (*create_bound_stream)(struct xs_stream *stream, int level, const uint32_t *units,
                               uint32_t words, struct xs_error *err);
    void (*destroy_partition)(struct xs_stream *stream);
    double iterations_per_ns[2]; /* of xs_spin, by blocks on a multiprocessor: one, two */
};

struct xs_stream {
    struct xs_gpu *gpu;
    void *stream;
    void *marks[XS_THRESHOLD_MAX]; /* events */
    void *partition;               /* what the stream was made in, for the brand to destroy */
};

struct xs_kernel {
    struct xs_gpu *gpu;
    struct xs_stream *stream; /* gone before the kernel is */
    struct xs_command command;
    uint64_t items;
    uint64_t a, b, out, checksum; /* device memory */
    uint64_t iterations;
    struct xs_gpu_user *user; /* XS_KERNEL, else NULL */
};

/* Return from the function with the driver's error, if there is one. */
#define TRY(gpu, call, what)                                                                       \
    do {                                                                                           \
        int try_rc = xs__gpu_status(&(gpu)->driver, (gpu)->driver.call, what, err);                \
        if (try_rc != XS_OK)                                                                       \
            return try_rc;                                                                         \
    } while (0)

/* ---- gpu_setup.c ----------------------------------------------------------- */

/* Load the driver and count its devices; XS_ENODEV if number `index` is not there. */
int xs__gpu_find(struct xs_gpu *gpu, enum xs_gpu_brand brand, const struct xs_device_options *o,
                 struct xs_error *err);
/* Kernels, priorities, calibration. The context is current; name, architecture
 * and processors are filled. */
int xs__gpu_prepare(struct xs_gpu *gpu, const struct xs_gpu_libraries *libraries,
                    struct xs_error *err);
/* Undo it, as far as it came; the context is current. */
void xs__gpu_release(struct xs_gpu *gpu);

/* ---- gpu_streams.c: as in struct xs_device_ops ------------------------------ */

int xs__gpu_stream_create(struct xs_device *dev, int32_t priority, struct xs_stream **out,
                          struct xs_error *err);
int xs__gpu_stream_create_on(struct xs_device *dev, int32_t priority, const uint32_t *units,
                             uint32_t words, struct xs_stream **out, struct xs_error *err);
void xs__gpu_stream_destroy(struct xs_stream *stream);
void *xs__gpu_stream_handle(struct xs_stream *stream);
int xs__gpu_mark(struct xs_stream *stream, uint32_t slot, struct xs_error *err);
int xs__gpu_passed(struct xs_stream *stream, uint32_t slot, struct xs_error *err);

/* ---- gpu_identity.c -------------------------------------------------------- */

/* The second half of xs_device_ops.locate: the driver's handle or number is known. */
int xs__gpu_locate(struct xs_gpu *gpu, struct xs_device_place *out, struct xs_error *err);
/* Fill gpu->identity: all but the compiler, and the compiler once gpu->rtc is open. */
int xs__gpu_identify(struct xs_gpu *gpu, struct xs_error *err);
void xs__gpu_identify_compiler(struct xs_gpu *gpu);
void xs__gpu_describe(struct xs_device *dev, struct xs_device_info *out);
/* ---- gpu_modules.c --------------------------------------------------------- */

/* Find the compiler; close it also after an error. */
int xs__gpu_compiler_open(struct xs_gpu *gpu, const struct xs_gpu_libraries *libraries,
                          struct xs_error *err);
void xs__gpu_compiler_close(struct xs_gpu *gpu);
/* Compile source or find it in the cache; the caller unloads *module. */
int xs__gpu_module_load(struct xs_gpu *gpu, const char *source, void **module,
                        struct xs_error *err);

/* ---- gpu_commands.c -------------------------------------------------------- */

int xs__gpu_kernel_create(struct xs_stream *stream, const struct xs_command *command, uint32_t seed,
                          struct xs_kernel **out, struct xs_error *err);
void xs__gpu_kernel_destroy(struct xs_kernel *kernel);
int xs__gpu_launch(struct xs_stream *stream, struct xs_kernel *kernel, uint32_t argument,
                   struct xs_error *err);
extern const struct xs_result_ops xs__gpu_results;

/* For the files of the device: launch a function; fill memory as operand `which`,
 * on the stream `setup`. */
int xs__gpu_start(struct xs_gpu *gpu, void *function, struct xs_gpu_grid grid, void *stream,
                  void **parameters, const char *what, struct xs_error *err);
int xs__gpu_fill(struct xs_gpu *gpu, uint64_t to, uint64_t items, uint32_t seed, uint32_t which,
                 struct xs_error *err);

/* Iterations of a kernel of XS_SPIN in a nanosecond. */
int xs__gpu_measure_spin(struct xs_gpu *gpu, struct xs_kernel *kernel, double *per_ns,
                         struct xs_error *err);

/* ---- gpu_user_kernels.c: XS_KERNEL --------------------------------------------------- */

void xs__gpu_modules_free(struct xs_gpu *gpu);
/* Fill k->user, and k->out and k->items with its first buffer. */
int xs__gpu_user_create(struct xs_kernel *k, uint32_t seed, struct xs_error *err);
void xs__gpu_user_destroy(struct xs_kernel *k); /* a half-made one is fine */
int xs__gpu_user_launch(struct xs_stream *stream, struct xs_kernel *k, struct xs_error *err);

/* The part of an xs_device_ops that both share. */
#define XS_GPU_OPS                                                                                 \
    .describe = xs__gpu_describe, .stream_create = xs__gpu_stream_create,                          \
    .stream_create_on = xs__gpu_stream_create_on, .stream_destroy = xs__gpu_stream_destroy,        \
    .stream_handle = xs__gpu_stream_handle, .kernel_create = xs__gpu_kernel_create,                \
    .kernel_destroy = xs__gpu_kernel_destroy, .launch = xs__gpu_launch, .mark = xs__gpu_mark,      \
    .passed = xs__gpu_passed, .results = &xs__gpu_results, .runs_sources = true

#endif

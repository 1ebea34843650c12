/* gpu_device.h - what the cuda and the hip device share. device_cuda.c and device_hip.c find
 * the device and make its context. Set-up (gpu_setup.c), streams and marks (gpu_streams.c),
 * and commands with their results (gpu_commands.c) are the same for both. */
#ifndef XS_GPU_DEVICE_H
#define XS_GPU_DEVICE_H

#include <pthread.h>

#include "devices/device.h"
#include "devices/gpu/gpu_driver.h"
#include "devices/kernels/gpu_kernels.h"

/* Which device it is, and which driver and compiler it has; "" and 0: unknown. */
struct xs_gpu_identity {
    char pci_id[32], uuid[48], driver_version[24], compiler_version[24];
    int64_t memory_bytes;
};

/* device_cuda.c and device_hip.c embed this struct as the first member. */
struct xs_gpu {
    struct xs_device base;
    struct xs_gpu_driver driver;
    int device; /* the driver's handle or number */
    char name[96], architecture[64];
    uint32_t processors;       /* multiprocessors, compute units */
    uint32_t units, unit_step; /* those for bound streams; see xs_device_info */
    /* xs__gpu_prepare() fills the fields from here on. */
    struct xs_gpu_identity identity;
    struct xs_rtc rtc;   /* open as long as the device */
    int least, greatest; /* stream priorities; lower numbers go first */
    void *setup;         /* stream for filling memory, which never waits for a busy stream */
    char *cache;         /* directory of compiled kernels; NULL: none */
    struct xs_gpu_module *modules; /* of the sources of users */
    pthread_mutex_t modules_lock;  /* guards `modules` */
    void *module, *functions[XS_GPU_FUNCTIONS];
    /* Only with units: create stream->stream, and destroy stream->partition. */
    int (*create_bound_stream)(struct xs_stream *stream, int level, const uint32_t *units,
                               uint32_t words, struct xs_error *err);
    void (*destroy_partition)(struct xs_stream *stream);
    double iterations_per_ns[2]; /* of xs_spin, with one and with two blocks on a multiprocessor */
};

struct xs_stream {
    struct xs_gpu *gpu;
    void *stream;
    void *marks[XS_THRESHOLD_MAX]; /* events */
    void *partition;               /* what contains the stream; destroy_partition() destroys it */
};

struct xs_kernel {
    struct xs_gpu *gpu;
    struct xs_stream *stream; /* destroyed before the kernel */
    struct xs_command command;
    uint64_t items;
    uint64_t a, b, out, checksum; /* device memory */
    uint64_t iterations;
    struct xs_gpu_user *user; /* XS_KERNEL, else NULL */
    struct xs_graph *graph;   /* XS_SEGMENT, else NULL */
    void *exec;               /* XS_SEGMENT: the driver's handle of the segment, of `graph` */
};

/* Return from the function with the error of the driver, if there is one. */
#define TRY(gpu, call, what)                                                                       \
    do {                                                                                           \
        int try_rc = xs__gpu_status(&(gpu)->driver, (gpu)->driver.call, what, err);                \
        if (try_rc != XS_OK)                                                                       \
            return try_rc;                                                                         \
    } while (0)

/* ---- gpu_setup.c ----------------------------------------------------------- */

/* Load the driver and count its devices; XS_ENODEV if there is no device number `index`. */
int xs__gpu_find(struct xs_gpu *gpu, enum xs_gpu_brand brand, const struct xs_device_options *o,
                 struct xs_error *err);
/* Load the kernels, read the priorities, calibrate. The context must be current, and name,
 * architecture and processors filled. */
int xs__gpu_prepare(struct xs_gpu *gpu, const struct xs_gpu_libraries *libraries,
                    struct xs_error *err);
/* Undo as much of xs__gpu_prepare() as was done. The context must be current. */
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

/* Fill the place of a device whose driver handle or number is known. */
int xs__gpu_locate(struct xs_gpu *gpu, struct xs_device_place *out, struct xs_error *err);
/* Fill gpu->identity without the compiler; fill the compiler once gpu->rtc is open. */
int xs__gpu_identify(struct xs_gpu *gpu, struct xs_error *err);
void xs__gpu_identify_compiler(struct xs_gpu *gpu);
void xs__gpu_describe(struct xs_device *dev, struct xs_device_info *out);
/* ---- gpu_modules.c --------------------------------------------------------- */

/* Find the compiler. The caller closes it, also after an error. */
int xs__gpu_compiler_open(struct xs_gpu *gpu, const struct xs_gpu_libraries *libraries,
                          struct xs_error *err);
void xs__gpu_compiler_close(struct xs_gpu *gpu);
/* Compile the source, or read the result from the cache. The caller unloads *module. */
int xs__gpu_module_load(struct xs_gpu *gpu, const char *source, void **module,
                        struct xs_error *err);

/* ---- gpu_commands.c -------------------------------------------------------- */

int xs__gpu_kernel_create(struct xs_stream *stream, const struct xs_command *command, uint32_t seed,
                          struct xs_kernel **out, struct xs_error *err);
void xs__gpu_kernel_destroy(struct xs_kernel *kernel);
int xs__gpu_launch(struct xs_stream *stream, struct xs_kernel *kernel, uint32_t argument,
                   struct xs_error *err);
extern const struct xs_result_ops xs__gpu_results;

/* For the files of the device: launch a function; fill memory with operand `which` on the
 * stream `setup`. */
int xs__gpu_start(struct xs_gpu *gpu, void *function, struct xs_gpu_grid grid, void *stream,
                  void **parameters, const char *what, struct xs_error *err);
int xs__gpu_fill(struct xs_gpu *gpu, uint64_t to, uint64_t items, uint32_t seed, uint32_t which,
                 struct xs_error *err);

/* Measure how many iterations a kernel of XS_SPIN does in a nanosecond. */
int xs__gpu_measure_spin(struct xs_gpu *gpu, struct xs_kernel *kernel, double *per_ns,
                         struct xs_error *err);

/* ---- gpu_user_kernels.c: XS_KERNEL --------------------------------------------------- */

void xs__gpu_modules_free(struct xs_gpu *gpu);
/* Fill k->user, and set k->out and k->items to its first buffer. */
int xs__gpu_user_create(struct xs_kernel *k, uint32_t seed, struct xs_error *err);
void xs__gpu_user_destroy(struct xs_kernel *k); /* accepts a kernel that is only partly made */
int xs__gpu_user_launch(struct xs_stream *stream, struct xs_kernel *k, struct xs_error *err);

/* ---- gpu_graph.c: XS_SEGMENT ------------------------------------------------------------ */

extern const struct xs_graph_ops xs__gpu_graphs;
/* Fill k->graph and k->exec. XS_EINVAL for a graph of another device or of another queue. */
int xs__gpu_segment_create(struct xs_kernel *k, struct xs_error *err);
void xs__gpu_segment_destroy(struct xs_kernel *k); /* accepts a kernel that is only partly made */

/* ---- gpu_capture.c: as in struct xs_graph_ops ------------------------------------------- */

int xs__gpu_capture_open(struct xs_device *dev, const uint32_t *units, uint32_t words,
                         struct xs_capture **out, struct xs_error *err);
int xs__gpu_capture_begin(struct xs_capture *capture, struct xs_error *err);
int xs__gpu_capture_end(struct xs_capture *capture, struct xs_error *err);
void xs__gpu_capture_close(struct xs_capture *capture);
/* XS_ENOTSUP where the driver lacks a call for graphs. */
int xs__gpu_check_graphs(const struct xs_gpu *gpu, struct xs_error *err);

/* The part of xs_device_ops that both share. */
#define XS_GPU_OPS                                                                                 \
    .describe = xs__gpu_describe, .stream_create = xs__gpu_stream_create,                          \
    .stream_create_on = xs__gpu_stream_create_on, .stream_destroy = xs__gpu_stream_destroy,        \
    .stream_handle = xs__gpu_stream_handle, .kernel_create = xs__gpu_kernel_create,                \
    .kernel_destroy = xs__gpu_kernel_destroy, .launch = xs__gpu_launch, .mark = xs__gpu_mark,      \
    .passed = xs__gpu_passed, .results = &xs__gpu_results, .runs_sources = true,                   \
    .graphs = &xs__gpu_graphs

#endif

/* fake.h - what the files of the fake driver share; fake_cuda.c says what it is. */
#ifndef XS_FAKE_H
#define XS_FAKE_H

#include <stdint.h>

/* What its compiler makes: code for the device that fake_cuda.c claims to be. */
#define FAKE_IMAGE "fake code for sm_90"

struct fake_grid {
    uint64_t x, y, z; /* blocks */
    uint64_t threads; /* of a block */
};

/* NULL: there is no such kernel. */
void *fake_kernel(const char *name);
/* Run it; how long it takes, in ns, or -1 if the grid does not cover the work. */
int64_t fake_run(const void *kernel, struct fake_grid grid, void **parameters);

/* What this call has to return by XS_FAKE_FAULT; 0: what it returns anyway. */
int fake_misbehave(const char *call);

/* First in every call. */
#define ENTER                                                                                      \
    do {                                                                                           \
        int enter_result = fake_misbehave(__func__);                                               \
        if (enter_result != 0)                                                                     \
            return enter_result;                                                                   \
    } while (0)

#endif

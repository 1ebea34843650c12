/* fake.h - what the files of the fake driver share; fake_cuda.c describes it. */
#ifndef XS_FAKE_H
#define XS_FAKE_H

#include <stddef.h>
#include <stdint.h>

struct fake_grid {
    uint64_t x, y, z; /* blocks */
    uint64_t threads; /* of a block */
};

struct fake_kernel {
    const char *name;
    /* Return its time in ns, or -1 if the grid does not cover the work. */
    int64_t (*run)(struct fake_grid grid, void **parameters);
};

enum {
    FAKE_PROCESSORS = 4
};

#define FAKE_MEMORY_BYTES ((size_t)1 << 32)

/* NULL: there is no such kernel. */
const struct fake_kernel *fake_find(const char *name);

/* Write a line to the file that FAKE_CUDA_LOG names, if it is set. */
__attribute__((format(printf, 1, 2))) void fake_note(const char *format, ...);

/* Return the result that XS_FAKE_FAULT wants for this call; 0: the normal one. */
int fake_misbehave(const char *call);

/* The first statement of every call. */
#define ENTER                                                                                      \
    do {                                                                                           \
        int enter_result = fake_misbehave(__func__);                                               \
        if (enter_result != 0)                                                                     \
            return enter_result;                                                                   \
    } while (0)

#endif

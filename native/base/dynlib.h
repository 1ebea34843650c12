/* dynlib.h - shared libraries that are found at run time: the build needs no SDK, and a
 * machine without the driver is an answer, not an error. */
#ifndef XS_DYNLIB_H
#define XS_DYNLIB_H

#include "base/base.h"

/* Open the first of `names` (NULL-terminated; file patterns are allowed) that exists. A
 * library that the process has already mapped comes before all others. With a `path` (NULL or
 * "": none), only that file is tried, and it must load. XS_ENODEV: none exists. The caller
 * closes *out with dlclose(). */
int xs__dynlib_open(const char *path, const char *const *names, const char *where, void **out,
                    struct xs_error *err);

/* Write the file that contains a function of a library; "" if it is unknown. */
void xs__dynlib_file(void (*function)(void), char *out, size_t size);

/* One row of a table of functions. */
struct xs_symbol {
    const char *name;
    void **target;
};

/* Look up each symbol; a missing one becomes NULL. Return whether all exist. */
bool xs__dynlib_optional(void *library, const struct xs_symbol *symbols, size_t count);

/* Look up all symbols. The error names the first one that is missing. */
int xs__dynlib_symbols(void *library, const struct xs_symbol *symbols, size_t count,
                       const char *where, struct xs_error *err);

#endif

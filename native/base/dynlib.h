/* dynlib.h - shared libraries found at run time: no SDK is needed to build,
 * and a machine without the driver is an answer, not an error. */
#ifndef XS_DYNLIB_H
#define XS_DYNLIB_H

#include "base/base.h"

/* Open the first of `names` (NULL-terminated; may be patterns of files) that is
 * there; one that the process has already mapped comes before all others. `path` (NULL or "":
 * none) is tried alone, if given, and has to be right. XS_ENODEV: none is
 * there. The caller closes *out with dlclose(). */
int xs__dynlib_open(const char *path, const char *const *names, const char *where, void **out,
                    struct xs_error *err);

/* The file that a function of a library is in; "" if that is not known. */
void xs__dynlib_file(void (*function)(void), char *out, size_t size);

/* One row of a table of functions. */
struct xs_symbol {
    const char *name;
    void **target;
};

/* Look up those that are there; the others become NULL. True: all are. */
bool xs__dynlib_optional(void *library, const struct xs_symbol *symbols, size_t count);

/* Look up all of them; the message names the first that is missing. */
int xs__dynlib_symbols(void *library, const struct xs_symbol *symbols, size_t count,
                       const char *where, struct xs_error *err);

#endif

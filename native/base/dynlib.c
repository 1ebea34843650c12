/* dynlib.c - see dynlib.h. */
#include "base/dynlib.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

/* The loader never unloads them, even after dlclose(): a driver leaves threads and state in
 * the process, and some compilers inside end the process when they are loaded again. */
#define FLAGS (RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)

/* For a pattern, open the last matching file that loads: the newest version, if all versions
 * have the same length. */
static void *open_name(const char *name, int flags)
{
    glob_t found;
    void *library = NULL;
    if (strchr(name, '*') == NULL)
        return dlopen(name, flags);
    if (glob(name, 0, NULL, &found) != 0)
        return NULL;
    for (size_t i = found.gl_pathc; i-- > 0 && library == NULL;)
        library = dlopen(found.gl_pathv[i], flags);
    globfree(&found);
    return library;
}

int xs__dynlib_open(const char *path, const char *const *names, const char *where, void **out,
                    struct xs_error *err)
{
    *out = NULL;
    if (path != NULL && path[0] != '\0') {
        *out = dlopen(path, FLAGS);
        return *out != NULL ? XS_OK
                            : xs__fail(err, XS_EDEVICE, where, 0, "cannot load %s", dlerror());
    }
    for (size_t i = 0; names[i] != NULL && *out == NULL; i++)
        *out = open_name(names[i], FLAGS | RTLD_NOLOAD);
    for (size_t i = 0; names[i] != NULL && *out == NULL; i++)
        *out = open_name(names[i], FLAGS);
    return *out != NULL
               ? XS_OK
               : xs__fail(err, XS_ENODEV, where, 0,
                          "this machine has no %s, under this or other usual names", names[0]);
}

bool xs__dynlib_optional(void *library, const struct xs_symbol *symbols, size_t count)
{
    bool all = true;
    for (size_t i = 0; i < count; i++) {
        *symbols[i].target = dlsym(library, symbols[i].name);
        all = all && *symbols[i].target != NULL;
    }
    return all;
}

int xs__dynlib_symbols(void *library, const struct xs_symbol *symbols, size_t count,
                       const char *where, struct xs_error *err)
{
    for (size_t i = 0; i < count; i++) {
        *symbols[i].target = dlsym(library, symbols[i].name);
        if (*symbols[i].target == NULL)
            return xs__fail(err, XS_EDEVICE, where, 0, "the library has no function %s",
                            symbols[i].name);
    }
    return XS_OK;
}

void xs__dynlib_file(void (*function)(void), char *out, size_t size)
{
    const void *address = NULL;
    Dl_info info;
    memcpy(&address, &function, sizeof address); /* POSIX allows this, and ISO C forbids the cast */
    bool known = dladdr(address, &info) != 0 && info.dli_fname != NULL;
    snprintf(out, size, "%s", known ? info.dli_fname : "");
}

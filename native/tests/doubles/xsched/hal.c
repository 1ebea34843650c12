/* hal.c - see hal.h. */
#include "hal.h"

#include <dlfcn.h>
#include <stdlib.h>

void *hal_symbol(const char *variable, const char *name)
{
    const char *path = getenv(variable);
    void *library = path != NULL ? dlopen(path, RTLD_NOW) : NULL;
    if (library == NULL) {
        preempt_log("WARN", "%s names no library that is there", variable);
        library = dlopen(NULL, RTLD_NOW);
    }
    void *symbol = dlsym(library, name);
    if (symbol == NULL)
        preempt_log("ERRO", "Assertion failed: fail to get symbol %s (%s)", name, variable);
    return symbol;
}

void hal_check(const char *call, int result)
{
    if (result != 0)
        preempt_log("ERRO", "Assertion failed: %s returned %d", call, result);
}

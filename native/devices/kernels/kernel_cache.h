/* kernel_cache.h - compiled kernels kept in files, so that a device opens
 * without compiling. The key is all that the code depends on: compiler, driver,
 * architecture, source. A file is named by a hash of its key and has the key
 * inside, so that no hash is trusted.
 *
 * Nothing here fails: what cannot be read, is not whole or has another key is
 * not there, and what cannot be written is compiled again the next time. */
#ifndef XS_KERNEL_CACHE_H
#define XS_KERNEL_CACHE_H

#include "base/base.h"

/* False: compile it. Else the caller frees *image. A directory of NULL or "" has nothing. */
bool xs__cache_load(const char *directory, const char *key, void **image, size_t *bytes);

/* Whole or not at all, also beside others who store the same. Makes the directory. */
void xs__cache_store(const char *directory, const char *key, const void *image, size_t bytes);

#endif

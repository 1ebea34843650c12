/* kernel_cache.h - files of compiled kernels, so that a device opens without compiling. The
 * key has everything that the code depends on: compiler, driver, architecture, source. The
 * file name is a hash of the key, and the file contains the key, so that equal hashes do no
 * harm.
 *
 * Nothing here fails. A file that cannot be read, is incomplete or has another key counts as
 * missing. An image that cannot be written is compiled again the next time. */
#ifndef XS_KERNEL_CACHE_H
#define XS_KERNEL_CACHE_H

#include "base/base.h"

/* False: compile the kernel. True: the caller frees *image. NULL and "" are an empty cache. */
bool xs__cache_load(const char *directory, const char *key, void **image, size_t *bytes);

/* Write the file completely or not at all, even if other processes store the same key. Makes
 * the directory. */
void xs__cache_store(const char *directory, const char *key, const void *image, size_t bytes);

#endif

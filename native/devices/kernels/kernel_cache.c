/* kernel_cache.c - see kernel_cache.h. A file is a header, the key and the image. */
#include "devices/kernels/kernel_cache.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PATH_BYTES = 4096
};

struct header {
    char magic[16];
    uint64_t key_bytes, image_bytes;
    uint64_t sum; /* hash of key and image */
};

static const char magic[16] = "xsched kernel 1";

/* 64-bit FNV-1a, continued from `hash`. It protects against accidents, not against an
 * attacker. */
static const uint64_t fnv_start = UINT64_C(14695981039346656037);

static uint64_t fnv(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *byte = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ byte[i]) * UINT64_C(1099511628211);
    return hash;
}

static bool path_of(char path[PATH_BYTES], const char *directory, const char *key)
{
    if (directory == NULL || directory[0] == '\0')
        return false;
    unsigned long long name = fnv(fnv_start, key, strlen(key));
    int length = snprintf(path, PATH_BYTES, "%s/%016llx.kernel", directory, name);
    return length > 0 && length < PATH_BYTES;
}

static struct header header_of(const char *key, const void *image, size_t bytes)
{
    struct header h = {.key_bytes = strlen(key), .image_bytes = bytes};
    memcpy(h.magic, magic, sizeof h.magic);
    h.sum = fnv(fnv(fnv_start, key, h.key_bytes), image, bytes);
    return h;
}

/* ---- loading --------------------------------------------------------------- */

/* Return everything after the header, or NULL; *h is the header of the file. */
static char *read_file(FILE *file, const char *key, struct header *h)
{
    struct stat there;
    size_t key_bytes = strlen(key), rest;
    if (fstat(fileno(file), &there) != 0 || !S_ISREG(there.st_mode) ||
        fread(h, sizeof *h, 1, file) != 1 || memcmp(h->magic, magic, sizeof magic) != 0 ||
        h->key_bytes != key_bytes || (uint64_t)there.st_size < sizeof *h + key_bytes)
        return NULL;
    rest = (size_t)there.st_size - sizeof *h;
    if (h->image_bytes != rest - key_bytes)
        return NULL;
    char *data = malloc(rest);
    if (data != NULL && (fread(data, 1, rest, file) != rest || memcmp(data, key, key_bytes) != 0)) {
        free(data);
        return NULL;
    }
    return data;
}

bool xs__cache_load(const char *directory, const char *key, void **image, size_t *bytes)
{
    char path[PATH_BYTES];
    struct header found;
    *image = NULL;
    *bytes = 0;
    if (!path_of(path, directory, key))
        return false;
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        return false;
    char *data = read_file(file, key, &found);
    fclose(file);
    if (data == NULL)
        return false;
    memmove(data, data + found.key_bytes, found.image_bytes);
    if (header_of(key, data, found.image_bytes).sum != found.sum) {
        free(data);
        return false;
    }
    *image = data;
    *bytes = found.image_bytes;
    return true;
}

/* ---- storing --------------------------------------------------------------- */

/* Make the directory and its parents, for this user only. Existing ones stay as they are. */
static void make_directory(const char *directory)
{
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s", directory);
    if (length < 1 || length >= PATH_BYTES)
        return;
    for (char *at = path + 1; *at != '\0'; at++)
        if (*at == '/') {
            *at = '\0';
            mkdir(path, 0700);
            *at = '/';
        }
    mkdir(path, 0700);
}

static bool write_file(int fd, const char *key, const void *image, size_t bytes)
{
    struct header h = header_of(key, image, bytes);
    FILE *file = fdopen(fd, "wb");
    if (file == NULL) {
        close(fd);
        return false;
    }
    bool written = fwrite(&h, sizeof h, 1, file) == 1 &&
                   fwrite(key, 1, h.key_bytes, file) == h.key_bytes &&
                   fwrite(image, 1, bytes, file) == bytes;
    return fclose(file) == 0 && written;
}

void xs__cache_store(const char *directory, const char *key, const void *image, size_t bytes)
{
    char path[PATH_BYTES], partial[PATH_BYTES];
    if (!path_of(path, directory, key))
        return;
    int length = snprintf(partial, sizeof partial, "%s/.partial-XXXXXX", directory);
    if (length < 1 || length >= PATH_BYTES)
        return;
    make_directory(directory);
    int fd = mkostemp(partial, O_CLOEXEC);
    if (fd < 0)
        return;
    if (!write_file(fd, key, image, bytes) || rename(partial, path) != 0)
        unlink(partial);
}

/* test_dynlib.c - finding shared libraries: names, patterns, a given path. */
#include "base/dynlib.h"

#include <dlfcn.h>
#include <unistd.h>

#include "check.h"

static int open_first(const char *path, const char *const *names, void **out, struct xs_error *err)
{
    memset(err, 0, sizeof *err);
    return xs__dynlib_open(path, names, "test.open", out, err);
}

/* The path of this process's C library. */
static void path_of_libc(char *path, size_t length)
{
    Dl_info info;
    void *libc = dlopen("libc.so.6", RTLD_NOW);
    CHECK(libc != NULL);
    CHECK(dladdr(dlsym(libc, "puts"), &info) != 0);
    CHECK(realpath(info.dli_fname, path) != NULL && strlen(path) < length);
    dlclose(libc);
}

static void the_first_that_is_there(void)
{
    const char *const names[] = {"libnone-of-this-name.so.1", "libc.so.6", NULL};
    const char *const none[] = {"libnone-of-this-name.so.1", "/nowhere*/at/all.so", NULL};
    struct xs_error err;
    void *library;
    CHECK_EQ(open_first(NULL, names, &library, &err), XS_OK);
    CHECK(dlsym(library, "puts") != NULL);
    dlclose(library);
    CHECK_EQ(open_first("", none, &library, &err), XS_ENODEV);
    CHECK(library == NULL && strstr(err.message, "libnone-of-this-name.so.1") != NULL);
}

/* A directory with two versions; the newer one cannot be loaded. */
static void a_pattern_takes_the_newest_that_can_be_loaded(void)
{
    char place[] = "/tmp/xs-library-XXXXXX", libc[4096], link[64], broken[64], pattern[64];
    const char *const names[] = {pattern, NULL};
    struct xs_error err;
    void *library;
    CHECK(mkdtemp(place) != NULL);
    path_of_libc(libc, sizeof libc);
    snprintf(link, sizeof link, "%s/driver-5.so", place);
    snprintf(broken, sizeof broken, "%s/driver-6.so", place);
    snprintf(pattern, sizeof pattern, "%s/driver-*.so", place);
    CHECK_EQ(symlink(libc, link), 0);
    FILE *file = fopen(broken, "w");
    CHECK(file != NULL && fputs("no library", file) >= 0 && fclose(file) == 0);
    CHECK_EQ(open_first(NULL, names, &library, &err), XS_OK);
    CHECK(dlsym(library, "puts") != NULL);
    dlclose(library);
    CHECK_EQ(unlink(link), 0);
    CHECK_EQ(open_first(NULL, names, &library, &err), XS_ENODEV);
    CHECK_EQ(unlink(broken), 0);
    CHECK_EQ(rmdir(place), 0);
}

static void a_given_path_has_to_be_right(void)
{
    const char *const names[] = {"libc.so.6", NULL};
    struct xs_error err;
    void *library;
    CHECK_EQ(open_first("/nowhere/at/all.so", names, &library, &err), XS_EDEVICE);
    CHECK(library == NULL && strstr(err.message, "/nowhere/at/all.so") != NULL);
}

int main(void)
{
    the_first_that_is_there();
    a_pattern_takes_the_newest_that_can_be_loaded();
    a_given_path_has_to_be_right();
    return 0;
}

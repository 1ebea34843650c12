/* test_kernel_cache.c - the cache of compiled kernels: it returns what was stored, and
 * nothing else: no image of another key, nothing damaged, nothing incomplete. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "devices/kernels/kernel_cache.h"

static char root[] = "/tmp/xs_kernel_cache_XXXXXX";
static const char key[] = "driver 1, compiler 2, sm_3\n__global__ void f() {}\n";
static const char other_key[] = "driver 2, compiler 2, sm_3\n__global__ void f() {}\n";
static const unsigned char image[] = {0x7f, 'E', 'L', 'F', 0, 1, 2, 0, 3, 255};

static const char *under(const char *name)
{
    static char paths[4][4096];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static bool is_there(const char *directory, const char *of)
{
    void *found = &found;
    size_t bytes = 99;
    if (!xs__cache_load(directory, of, &found, &bytes)) {
        CHECK(found == NULL && bytes == 0);
        return false;
    }
    CHECK_EQ(bytes, sizeof image);
    CHECK(memcmp(found, image, bytes) == 0);
    free(found);
    return true;
}

/* The one file of a directory; "" if there is none. */
static const char *only_file(const char *directory)
{
    static char path[4096 + 256];
    struct dirent *entry;
    DIR *dir = opendir(directory);
    path[0] = '\0';
    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        CHECK(path[0] == '\0');
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
    }
    closedir(dir);
    return path;
}

static size_t read_whole(const char *path, char *into, size_t most)
{
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    size_t bytes = fread(into, 1, most, file);
    fclose(file);
    CHECK(bytes < most);
    return bytes;
}

static void write_whole(const char *path, const char *from, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fwrite(from, 1, bytes, file) == bytes);
    CHECK_EQ(fclose(file), 0);
}

static void what_was_stored_comes_back(void)
{
    const char *directory = under("not/there/yet");
    struct stat made;
    CHECK(!is_there(directory, key));
    xs__cache_store(directory, key, image, sizeof image);
    CHECK(is_there(directory, key));
    CHECK(!is_there(directory, other_key));
    CHECK(strstr(only_file(directory), ".kernel") != NULL); /* and no partial one */
    CHECK_EQ(stat(directory, &made), 0);
    CHECK_EQ(made.st_mode & 0777, 0700);
    xs__cache_store(directory, key, image, sizeof image); /* again */
    CHECK(is_there(directory, key));
    CHECK(only_file(directory)[0] != '\0');
}

static void damage_is_noticed(void)
{
    static char whole[4096], damaged[4096];
    const char *directory = under("damage");
    char path[4096 + 256];
    xs__cache_store(directory, key, image, sizeof image);
    snprintf(path, sizeof path, "%s", only_file(directory));
    size_t bytes = read_whole(path, whole, sizeof whole - 1);
    for (size_t length = 0; length < bytes; length++) {
        write_whole(path, whole, length);
        CHECK(!is_there(directory, key));
    }
    for (size_t at = 0; at < bytes; at++) {
        memcpy(damaged, whole, bytes);
        damaged[at] ^= 1;
        write_whole(path, damaged, bytes);
        CHECK(!is_there(directory, key));
    }
    memcpy(damaged, whole, bytes);
    damaged[bytes] = 0;
    write_whole(path, damaged, bytes + 1);
    CHECK(!is_there(directory, key));
    xs__cache_store(directory, key, image, sizeof image); /* repaired */
    CHECK(is_there(directory, key));
}

/* Two keys with one hash, simulated with a file under the name of the other key. */
static void a_hash_is_not_trusted(void)
{
    static char whole[4096];
    const char *mine = under("mine"), *others = under("others");
    xs__cache_store(mine, key, image, sizeof image);
    xs__cache_store(others, other_key, image, sizeof image);
    size_t bytes = read_whole(only_file(mine), whole, sizeof whole);
    write_whole(only_file(others), whole, bytes);
    CHECK(!is_there(others, other_key));
}

static void what_cannot_be_written_is_not(void)
{
    static char long_path[5000];
    write_whole(under("file"), "x", 1);
    xs__cache_store(under("file/below"), key, image, sizeof image);
    CHECK(!is_there(under("file/below"), key));
    xs__cache_store(NULL, key, image, sizeof image);
    CHECK(!is_there(NULL, key));
    xs__cache_store("", key, image, sizeof image);
    CHECK(!is_there("", key));
    memset(long_path, 'x', sizeof long_path - 1);
    xs__cache_store(long_path, key, image, sizeof image);
    CHECK(!is_there(long_path, key));
}

/* Like a full disk: writing beyond 64 bytes fails. In a child process, because the limit is
 * for a process. */
static void a_half_written_file_is_taken_away(void)
{
    const char *directory = under("full");
    CHECK_EQ(mkdir(directory, 0700), 0);
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {64, 64};
        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) == 0)
            xs__cache_store(directory, key, image, sizeof image);
        _exit(only_file(directory)[0] == '\0' ? 0 : 1);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK(!is_there(directory, key));
}

static void several_may_store_at_once(void)
{
    enum {
        WRITERS = 4
    };
    const char *directory = under("shared");
    pid_t children[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            for (int k = 0; k < 200; k++) {
                xs__cache_store(directory, key, image, sizeof image);
                CHECK(is_there(directory, key));
            }
            _exit(0);
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        int status = -1;
        CHECK_EQ(waitpid(children[i], &status, 0), children[i]);
        CHECK_EQ(status, 0);
    }
    CHECK(only_file(directory)[0] != '\0');
}

int main(void)
{
    char command[256];
    CHECK(mkdtemp(root) != NULL);
    what_was_stored_comes_back();
    damage_is_noticed();
    a_hash_is_not_trusted();
    what_cannot_be_written_is_not();
    a_half_written_file_is_taken_away();
    several_may_store_at_once();
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command) == 0 ? 0 : 1;
}

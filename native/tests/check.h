/* check.h - what the native test programs share. Each is a main() that exits with 0, 1 or 77
 * (skip). A failed CHECK prints its place and ends the program. */
#ifndef XS_CHECK_H
#define XS_CHECK_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xs_api.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition);  \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* Compare whole numbers, and print both values if they differ. */
#define CHECK_EQ(a, b)                                                                             \
    do {                                                                                           \
        long long check_a = (long long)(a), check_b = (long long)(b);                              \
        if (check_a != check_b) {                                                                  \
            fprintf(stderr, "%s:%d: %s: %s is %lld, not %lld\n", __FILE__, __LINE__, __func__, #a, \
                    check_a, check_b);                                                             \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define MS INT64_C(1000000)

static inline struct xs_device_options default_options(void)
{
    struct xs_device_options options = {
        .cpu = {.workers = 1, .honour_priority = 1, .spin_ns = 50000},
        .sim = {.slots = 1,
                .honour_priority = 1,
                .launch_ns = 0,
                .flops_per_s = 1e12,
                .bytes_per_s = 1e12,
                .full_items = 1}};
    return options;
}

/* Options for a kind of device: XS_TEST_HIP_DRIVER and XS_TEST_HIP_COMPILER name the
 * libraries of hip, and so on for the other kinds. Without them, the installed libraries are
 * used. */
static inline struct xs_device_options options_for(const char *kind)
{
    struct xs_device_options options = default_options();
    char driver[64] = "XS_TEST_", compiler[80];
    for (size_t i = strlen(driver); *kind != '\0' && i < 32; i++)
        driver[i] = (char)toupper(*kind++);
    snprintf(compiler, sizeof compiler, "%s_COMPILER", driver);
    strcat(driver, "_DRIVER");
    options.gpu.driver = getenv(driver);
    options.gpu.compiler = getenv(compiler);
    return options;
}

/* Open a device, or print that this machine has no such device and return NULL. */
static inline struct xs_device *open_device(const char *kind)
{
    struct xs_device_options options = options_for(kind);
    struct xs_device *dev;
    struct xs_error err = {0};
    int rc = xs_device_open(kind, &options, &dev, &err);
    printf("%s%s%s\n", kind, rc == XS_ENODEV ? " is left out: " : "",
           rc == XS_ENODEV ? err.message : "");
    if (rc == XS_ENODEV)
        return NULL;
    if (rc != XS_OK)
        fprintf(stderr, "%s: %s\n", kind, err.message);
    CHECK_EQ(rc, XS_OK);
    return dev;
}

static inline struct xs_command spin(int64_t duration_ns)
{
    struct xs_command command = {
        .kind = XS_SPIN, .batch = 1, .duration_ns = duration_ns, .fill_permille = 1000, .waves = 1};
    return command;
}

static inline struct xs_command matmul(uint32_t n, uint32_t batch)
{
    struct xs_command command = {.kind = XS_MATMUL, .n = n, .batch = batch};
    return command;
}

/* Wait like Python: in slices, until the result is not XS_EAGAIN. */
static inline int wait_run(struct xs_run *run, struct xs_error *err)
{
    int rc;
    do
        rc = xs_run_wait(run, 50 * MS, err);
    while (rc == XS_EAGAIN);
    return rc;
}

#endif

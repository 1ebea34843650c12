/* test_bad_driver.c - a driver whose calls fail, each from its n-th call on: the device does
 * not open, or the run ends, with the driver's error, and nothing leaks. The driver is
 * doubles/driver/fake_cuda.c, for cuda and, through hip_on_cuda.c, for hip. */
#include <dlfcn.h>

#include "scenario.h"

static const char *const calls[] = {"cuInit",
                                    "cuDeviceGetCount",
                                    "cuDeviceGetName",
                                    "cuDeviceGetAttribute",
                                    "cuDriverGetVersion",
                                    "cuDeviceGetPCIBusId",
                                    "cuDeviceTotalMem_v2",
                                    "cuDeviceGet",
                                    "cuDevicePrimaryCtxRetain",
                                    "cuCtxSetCurrent",
                                    "cuCtxGetStreamPriorityRange",
                                    "cuStreamCreateWithPriority",
                                    "cuStreamSynchronize",
                                    "cuEventCreate",
                                    "cuEventRecord",
                                    "cuEventQuery",
                                    "cuMemAlloc_v2",
                                    "cuMemsetD8Async",
                                    "cuModuleLoadData",
                                    "cuModuleGetFunction",
                                    "cuLaunchKernel",
                                    "nvrtcCreateProgram",
                                    "nvrtcCompileProgram",
                                    "nvrtcGetCUBINSize",
                                    "nvrtcGetCUBIN"};

static int (*set_fault)(const char *text), (*has_failed)(void), (*alive)(void);

/* Return whether the fault came. Then it is the error of the device or of the run. */
static int fails(const char *kind, const char *call, int n)
{
    struct xs_device_options options = options_for(kind);
    struct xs_device *dev;
    struct scenario s = {0};
    struct xs_error err = {0};
    char text[80];
    snprintf(text, sizeof text, "%s:%d:999", call, n);
    CHECK(set_fault(text));
    int rc = xs_device_open(kind, &options, &dev, &err);
    if (rc == XS_OK)
        rc = scenario_start(&s, dev, "hpf", matmul(8, 1), spin(20000), 2 * MS, &err);
    if (rc == XS_OK)
        rc = wait_run(s.run, &err);
    int failed = has_failed();
    if (rc != (failed ? XS_EDEVICE : XS_OK) || (failed && err.native != 999)) {
        fprintf(stderr, "%s, %s: %d, %s: %s (%d)\n", kind, text, rc, err.where, err.message,
                err.native);
        exit(1);
    }
    scenario_close(&s);
    xs_device_close(dev);
    CHECK_EQ(alive(), 0);
    return failed;
}

/* Repeat until a run does not reach the fault. */
static void every_call(const char *kind)
{
    int total = 0;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        int n = 1;
        while (fails(kind, calls[i], n))
            n += 1 + n / 8; /* a device makes thousands of events */
        total += n > 1;
    }
    printf("%s: %d calls were made to fail\n", kind, total);
    /* hip_on_cuda makes its context once a process, with two of these calls */
    CHECK_EQ(total, sizeof calls / sizeof calls[0] - (strcmp(kind, "hip") == 0 ? 2 : 0));
}

int main(void)
{
    const char *path = getenv("XS_TEST_CUDA_DRIVER");
    void *fake = path != NULL ? dlopen(path, RTLD_NOW) : NULL;
    if (fake == NULL || dlsym(fake, "xs_fake_fault") == NULL || !getenv("XS_TEST_HIP_DRIVER")) {
        printf("XS_TEST_CUDA_DRIVER is not the fake driver\n");
        return 77;
    }
    *(void **)&set_fault = dlsym(fake, "xs_fake_fault");
    *(void **)&has_failed = dlsym(fake, "xs_fake_has_failed");
    *(void **)&alive = dlsym(fake, "xs_fake_alive");
    every_call("cuda");
    every_call("hip");
    return 0;
}

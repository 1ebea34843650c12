/* fake_nvml.c - the part of NVIDIA's management library that pytest-xsched calls, for one GPU:
 * what FAKE_NVML_CLOCK, _REASONS and _PIDS say ("self 750", or of parts "self/1 750/2"), or the
 * file that _PIDS_IN names, each call an error where it is not set. With -DOLD it has the names of
 * a driver before 535. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7
};

struct process {
    unsigned int pid;
    unsigned long long memory;
    unsigned int gpu_instance, compute_instance;
};

static int the_gpu;

int nvmlInit_v2(void)
{
    return 0;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device)
{
    const char *known = getenv("FAKE_NVML_GPU");
    *device = &the_gpu;
    return known != NULL && strcmp(id, known) != 0 ? NOT_FOUND : 0;
}

int nvmlDeviceGetClockInfo(void *device, int type, unsigned int *mhz)
{
    const char *clock = getenv("FAKE_NVML_CLOCK");
    if (clock == NULL || device != &the_gpu || type != 1)
        return NOT_SUPPORTED;
    *mhz = (unsigned int)strtoul(clock, NULL, 10);
    return 0;
}

#ifdef OLD
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *bits)
#else
int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *bits)
#endif
{
    const char *reasons = getenv("FAKE_NVML_REASONS");
    if (reasons == NULL || device != &the_gpu)
        return NOT_SUPPORTED;
    *bits = strtoull(reasons, NULL, 0);
    return 0;
}

#ifdef OLD
int nvmlDeviceGetComputeRunningProcesses_v2(void *device, unsigned int *count, struct process *out)
#else
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, struct process *out)
#endif
{
    char text[256];
    const char *pids = getenv("FAKE_NVML_PIDS"), *path = getenv("FAKE_NVML_PIDS_IN");
    FILE *file = path == NULL ? NULL : fopen(path, "r");
    if (file != NULL) {
        pids = fgets(text, sizeof text, file);
        fclose(file);
    }
    unsigned int room = *count;
    *count = 0;
    if (pids == NULL || device != &the_gpu)
        return NOT_SUPPORTED;
    while (*pids != '\0') {
        if (*count == room)
            return INSUFFICIENT_SIZE;
        struct process one = {.memory = ~0ull, .gpu_instance = ~0u, .compute_instance = ~0u};
        size_t length = strcspn(pids, " ");
        const char *part = memchr(pids, '/', length);
        one.pid = strncmp(pids, "self", 4) == 0 ? (unsigned int)getpid()
                                                : (unsigned int)strtoul(pids, NULL, 10);
        if (part != NULL)
            one.gpu_instance = (unsigned int)strtoul(part + 1, NULL, 10);
        out[(*count)++] = one;
        pids += length + (pids[length] == ' ');
    }
    return 0;
}

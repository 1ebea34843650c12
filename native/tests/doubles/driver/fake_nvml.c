/* fake_nvml.c - the part of NVIDIA's management library that the package nvidia-ml-py calls for
 * pytest-xsched. A query returns an error where its variable is not set.
 *   FAKE_NVML_GPU       the PCI id that it knows; not set: it takes any
 *   FAKE_NVML_LOAD      percent of each GPU, "100 0"; as many GPUs as numbers, 1 where not set
 *   FAKE_NVML_MEMORY    MiB used and in all, "4 81559"
 *   FAKE_NVML_CLOCK     MHz now and at most, "345 1980"
 *   FAKE_NVML_REASONS   bits that hold the clock down
 *   FAKE_NVML_PIDS      processes on the first GPU: "self 750", with MiB "750:1386", on parts of it
 *                       "self/1 750/2"; FAKE_NVML_PIDS_IN names a file with the same
 * With -DOLD it has the names of a driver before 535. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    GPUS_MAX = 8
};

struct process {
    unsigned int pid;
    unsigned long long memory;
    unsigned int gpu_instance, compute_instance;
};

static char gpus[GPUS_MAX];

/* Reads the number at `index` of a variable with several. */
static int number_of(const char *variable, unsigned int index, unsigned long long *value)
{
    const char *text = getenv(variable);
    if (text == NULL)
        return NOT_SUPPORTED;
    char *end = NULL;
    for (unsigned int i = 0; i <= index; i++, text = end) {
        *value = strtoull(text, &end, 0);
        if (end == text)
            return NOT_SUPPORTED;
    }
    return 0;
}

static unsigned int index_of(const void *device)
{
    return (unsigned int)((const char *)device - gpus);
}

int nvmlInitWithFlags(unsigned int flags)
{
    (void)flags;
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    unsigned long long ignored;
    *count = 0;
    while (*count < GPUS_MAX && number_of("FAKE_NVML_LOAD", *count, &ignored) == 0)
        ++*count;
    if (*count == 0)
        *count = 1;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{
    *device = &gpus[index % GPUS_MAX];
    return index < GPUS_MAX ? 0 : NOT_FOUND;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device)
{
    const char *known = getenv("FAKE_NVML_GPU");
    *device = &gpus[0];
    return known != NULL && strcmp(id, known) != 0 ? NOT_FOUND : 0;
}

int nvmlDeviceGetName(const void *device, char *name, unsigned int size)
{
    (void)device;
    snprintf(name, size, "NVIDIA H100 80GB HBM3");
    return 0;
}

static int clock_of(int type, unsigned int index, unsigned int *mhz)
{
    unsigned long long value = 0;
    int status = type == 1 ? number_of("FAKE_NVML_CLOCK", index, &value) : NOT_SUPPORTED;
    *mhz = (unsigned int)value;
    return status;
}

int nvmlDeviceGetClockInfo(const void *device, int type, unsigned int *mhz)
{
    (void)device;
    return clock_of(type, 0, mhz);
}

int nvmlDeviceGetMaxClockInfo(const void *device, int type, unsigned int *mhz)
{
    (void)device;
    return clock_of(type, 1, mhz);
}

int nvmlDeviceGetUtilizationRates(const void *device, unsigned int rates[2])
{
    unsigned long long value = 0;
    int status = number_of("FAKE_NVML_LOAD", index_of(device), &value);
    rates[0] = (unsigned int)value; /* of the GPU; [1]: of its memory */
    rates[1] = 0;
    return status;
}

int nvmlDeviceGetMemoryInfo(const void *device, unsigned long long memory[3])
{
    (void)device;
    unsigned long long used = 0, total = 0;
    if (number_of("FAKE_NVML_MEMORY", 0, &used) != 0 ||
        number_of("FAKE_NVML_MEMORY", 1, &total) != 0)
        return NOT_SUPPORTED;
    memory[0] = total << 20;
    memory[1] = (total - used) << 20;
    memory[2] = used << 20;
    return 0;
}

#ifdef OLD
int nvmlDeviceGetCurrentClocksThrottleReasons(const void *device, unsigned long long *bits)
#else
int nvmlDeviceGetCurrentClocksEventReasons(const void *device, unsigned long long *bits)
#endif
{
    (void)device;
    return number_of("FAKE_NVML_REASONS", 0, bits);
}

/* Reads the process that a text begins with. */
static struct process process_in(const char *text, size_t length)
{
    struct process one = {.memory = ~0ull, .gpu_instance = ~0u, .compute_instance = ~0u};
    const char *part = memchr(text, '/', length), *memory = memchr(text, ':', length);
    one.pid = strncmp(text, "self", 4) == 0 ? (unsigned int)getpid()
                                            : (unsigned int)strtoul(text, NULL, 10);
    if (part != NULL)
        one.gpu_instance = (unsigned int)strtoul(part + 1, NULL, 10);
    if (memory != NULL)
        one.memory = strtoull(memory + 1, NULL, 10) << 20;
    return one;
}

#ifdef OLD
int nvmlDeviceGetComputeRunningProcesses_v2(const void *device, unsigned int *count,
                                            struct process *out)
#else
int nvmlDeviceGetComputeRunningProcesses_v3(const void *device, unsigned int *count,
                                            struct process *out)
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
    if (pids == NULL)
        return NOT_SUPPORTED;
    while (*pids != '\0' && index_of(device) == 0) {
        size_t length = strcspn(pids, " ");
        if (*count < room)
            out[*count] = process_in(pids, length);
        ++*count; /* also without room: this is how many there are */
        pids += length + (pids[length] == ' ');
    }
    return *count > room ? INSUFFICIENT_SIZE : 0;
}

int nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int size)
{
    snprintf(name, size, "python3");
    return pid == 750 ? 0 : NOT_FOUND;
}

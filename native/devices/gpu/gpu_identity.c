/* gpu_identity.c - which GPU it is, and which driver and compiler it has. These facts are
 * stored with every result, so that results of different machines can be distinguished. */
#include <ctype.h>
#include <stdio.h>

#include "base/dynlib.h"
#include "devices/gpu/gpu_device.h"

/* CUDA packs 13.0 into 13000, HIP 6.4.43484 into 60443484. */
static void write_version(enum xs_gpu_brand brand, int version, char *out, size_t size)
{
    if (brand == XS_BRAND_HIP)
        snprintf(out, size, "%d.%d.%d", version / 10000000, version / 100000 % 100,
                 version % 100000);
    else
        snprintf(out, size, "%d.%d", version / 1000, version % 1000 / 10);
}

/* The same text as nvidia-smi and rocm-smi print: NVIDIA's 16 bytes are a number, AMD's are
 * text. */
static void write_uuid(const unsigned char bytes[16], char *out, size_t size)
{
    size_t text = 0, at = 0;
    while (text < 16 && isxdigit(bytes[text]))
        text++;
    at += (size_t)snprintf(out, size, "GPU-");
    if (text == 16) {
        snprintf(out + at, size - at, "%.16s", (const char *)bytes);
        return;
    }
    for (int i = 0; i < 16; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%02x",
                               i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
}

int xs__gpu_locate(struct xs_gpu *gpu, struct xs_device_place *out, struct xs_error *err)
{
    TRY(gpu, DeviceGetPCIBusId(out->pci_id, sizeof out->pci_id, gpu->device), "pci_id");
    return XS_OK;
}

int xs__gpu_identify(struct xs_gpu *gpu, struct xs_error *err)
{
    struct xs_gpu_identity *to = &gpu->identity;
    struct xs_device_place place;
    unsigned char uuid[16] = {0};
    size_t bytes = 0;
    int version = 0;
    TRY(gpu, GetVersion(&version), "version");
    int rc = xs__gpu_locate(gpu, &place, err);
    if (rc != XS_OK)
        return rc;
    TRY(gpu, DeviceTotalMem(&bytes, gpu->device), "memory");
    to->memory_bytes = (int64_t)bytes;
    snprintf(to->pci_id, sizeof to->pci_id, "%s", place.pci_id);
    write_version(gpu->driver.brand, version, to->driver_version, sizeof to->driver_version);
    if (gpu->driver.DeviceGetUuid != NULL &&
        gpu->driver.DeviceGetUuid(uuid, gpu->device) == XS_GPU_SUCCESS)
        write_uuid(uuid, to->uuid, sizeof to->uuid);
    return XS_OK;
}

void xs__gpu_identify_compiler(struct xs_gpu *gpu)
{
    char *to = gpu->identity.compiler_version;
    int major, minor;
    if (gpu->rtc.Version(&major, &minor) == 0)
        snprintf(to, sizeof gpu->identity.compiler_version, "%d.%d", major, minor);
}

void xs__gpu_describe(struct xs_device *dev, struct xs_device_info *out)
{
    const struct xs_gpu *gpu = (const struct xs_gpu *)dev;
    const struct xs_gpu_identity *from = &gpu->identity;
    snprintf(out->kind, sizeof out->kind, "%s", xs__gpu_kind(gpu->driver.brand));
    snprintf(out->name, sizeof out->name, "%s", gpu->name);
    snprintf(out->architecture, sizeof out->architecture, "%s", gpu->architecture);
    snprintf(out->uuid, sizeof out->uuid, "%s", from->uuid);
    snprintf(out->pci_id, sizeof out->pci_id, "%s", from->pci_id);
    snprintf(out->driver_version, sizeof out->driver_version, "%s", from->driver_version);
    snprintf(out->compiler_version, sizeof out->compiler_version, "%s", from->compiler_version);
    out->memory_bytes = from->memory_bytes;
    xs__dynlib_file((void (*)(void))gpu->driver.Init, out->driver_file, sizeof out->driver_file);
    out->computes = 1;
    out->honour_priority = -1;
    out->least_priority = -gpu->least;
    out->most_priority = -gpu->greatest;
    out->units = gpu->units;
    out->unit_step = gpu->unit_step;
}

/* test_gpu_identity.c - what a driver reports about a GPU, in our format; the drivers are
 * stubs. */
#include "check.h"
#include "devices/gpu/gpu_device.h"

static int version_said;
static unsigned char uuid_said[16];
static int uuid_result;

static int get_version(int *version)
{
    *version = version_said;
    return 0;
}

static int get_pci_id(char *id, int length, int device)
{
    snprintf(id, (size_t)length, "0000:1b:00.%d", device);
    return 0;
}

static int get_memory(size_t *bytes, int device)
{
    (void)device;
    *bytes = (size_t)150 << 30;
    return 0;
}

static int get_uuid(void *uuid, int device)
{
    (void)device;
    memcpy(uuid, uuid_said, sizeof uuid_said);
    return uuid_result;
}

static int fails(char *id, int length, int device)
{
    (void)id, (void)length, (void)device;
    return 801;
}

static int error_name(int result, const char **text)
{
    (void)result;
    *text = "NOT_SUPPORTED";
    return 0;
}

static int compiler(int *major, int *minor)
{
    *major = 13, *minor = 1;
    return 0;
}

static struct xs_gpu stub(enum xs_gpu_brand brand)
{
    struct xs_gpu gpu = {.device = 3, .name = "a GPU", .architecture = "sm_90"};
    gpu.driver.brand = brand;
    gpu.driver.GetVersion = get_version;
    gpu.driver.DeviceGetPCIBusId = get_pci_id;
    gpu.driver.DeviceTotalMem = get_memory;
    gpu.driver.DeviceGetUuid = get_uuid;
    gpu.driver.cuda_error_name = gpu.driver.cuda_error_text = error_name;
    gpu.rtc.Version = compiler;
    return gpu;
}

static struct xs_device_info identified(struct xs_gpu *gpu)
{
    struct xs_device_info info;
    struct xs_error err = {0};
    memset(&info, 0, sizeof info);
    CHECK_EQ(xs__gpu_identify(gpu, &err), XS_OK);
    xs__gpu_identify_compiler(gpu);
    xs__gpu_describe(&gpu->base, &info);
    return info;
}

static void says_what_the_driver_says(void)
{
    struct xs_gpu gpu = stub(XS_BRAND_CUDA);
    version_said = 13000;
    for (int i = 0; i < 16; i++)
        uuid_said[i] = (unsigned char)(16 * i + 1);
    struct xs_device_info info = identified(&gpu);
    CHECK(strcmp(info.kind, "cuda") == 0);
    CHECK(strcmp(info.name, "a GPU") == 0);
    CHECK(strcmp(info.architecture, "sm_90") == 0);
    CHECK(strcmp(info.pci_id, "0000:1b:00.3") == 0);
    CHECK(strcmp(info.uuid, "GPU-01112131-4151-6171-8191-a1b1c1d1e1f1") == 0);
    CHECK(strcmp(info.driver_version, "13.0") == 0);
    CHECK(strcmp(info.compiler_version, "13.1") == 0);
    CHECK_EQ(info.memory_bytes, INT64_C(150) << 30);
    version_said = 12040;
    CHECK(strcmp(identified(&gpu).driver_version, "12.4") == 0);
}

static void says_where_it_is_before_it_is_open(void)
{
    struct xs_gpu gpu = stub(XS_BRAND_HIP);
    struct xs_device_options options = default_options();
    struct xs_device_place place;
    struct xs_error err = {0};
    CHECK_EQ(xs__gpu_locate(&gpu, &place, &err), XS_OK);
    CHECK(strcmp(place.pci_id, "0000:1b:00.3") == 0);
    CHECK_EQ(xs_device_locate("cpu", &options, &place, &err), XS_OK);
    CHECK(strcmp(place.pci_id, "") == 0); /* each process has a device of its own */
    CHECK_EQ(xs_device_locate("tpu", &options, &place, &err), XS_EINVAL);
}

static void amd_says_it_in_text(void)
{
    struct xs_gpu gpu = stub(XS_BRAND_HIP);
    version_said = 60443484;
    memcpy(uuid_said, "a1b2c3d4e5f60718", 16);
    struct xs_device_info info = identified(&gpu);
    CHECK(strcmp(info.kind, "hip") == 0);
    CHECK(strcmp(info.uuid, "GPU-a1b2c3d4e5f60718") == 0);
    CHECK(strcmp(info.driver_version, "6.4.43484") == 0);
}

static void what_is_not_known_is_left_out(void)
{
    struct xs_gpu old = stub(XS_BRAND_CUDA), refuses = stub(XS_BRAND_CUDA);
    old.driver.DeviceGetUuid = NULL;
    CHECK(strcmp(identified(&old).uuid, "") == 0);
    uuid_result = 801;
    CHECK(strcmp(identified(&refuses).uuid, "") == 0);
    uuid_result = 0;
}

static void a_failing_call_is_named(void)
{
    struct xs_gpu gpu = stub(XS_BRAND_CUDA);
    struct xs_error err = {0};
    gpu.driver.DeviceGetPCIBusId = fails;
    CHECK_EQ(xs__gpu_identify(&gpu, &err), XS_EDEVICE);
    CHECK(strcmp(err.where, "cuda.pci_id") == 0);
    CHECK_EQ(err.native, 801);
}

int main(void)
{
    says_what_the_driver_says();
    says_where_it_is_before_it_is_open();
    amd_says_it_in_text();
    what_is_not_known_is_left_out();
    a_failing_call_is_named();
    return 0;
}

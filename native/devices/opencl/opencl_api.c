/* opencl_api.c - find the ICD loader, and name the errors of OpenCL. */
#include "devices/opencl/opencl_api.h"

#include <stdio.h>

#include "base/dynlib.h"

#define ROW(type, member, parameters) {"cl" #member, (void **)&api->member},

int xs__opencl_open(struct xs_opencl_api *api, const char *path, struct xs_error *err)
{
    const char *const names[] = {"libOpenCL.so.1", "libOpenCL.so", NULL};
    const struct xs_symbol rows[] = {XS_OPENCL_SYMBOLS(ROW)};
    int rc = xs__dynlib_open(path, names, "opencl.open", &api->library, err);
    if (rc != XS_OK)
        return rc;
    return xs__dynlib_symbols(api->library, rows, sizeof rows / sizeof rows[0], "opencl.open", err);
}

struct code {
    int code, status;
    const char *name;
};

/* The errors that our calls may return. */
static const struct code codes[] = {
    {-1, XS_EDEVICE, "CL_DEVICE_NOT_FOUND"},
    {-2, XS_EDEVICE, "CL_DEVICE_NOT_AVAILABLE"},
    {-3, XS_EDEVICE, "CL_COMPILER_NOT_AVAILABLE"},
    {-4, XS_ENOMEM, "CL_MEM_OBJECT_ALLOCATION_FAILURE"},
    {-5, XS_EDEVICE, "CL_OUT_OF_RESOURCES"},
    {-6, XS_ENOMEM, "CL_OUT_OF_HOST_MEMORY"},
    {-11, XS_EDEVICE, "CL_BUILD_PROGRAM_FAILURE"},
    {-14, XS_EDEVICE, "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST"},
    {-30, XS_EDEVICE, "CL_INVALID_VALUE"},
    {-33, XS_EDEVICE, "CL_INVALID_DEVICE"},
    {-34, XS_EDEVICE, "CL_INVALID_CONTEXT"},
    {-35, XS_EDEVICE, "CL_INVALID_QUEUE_PROPERTIES"},
    {-36, XS_EDEVICE, "CL_INVALID_COMMAND_QUEUE"},
    {-38, XS_EDEVICE, "CL_INVALID_MEM_OBJECT"},
    {-45, XS_EDEVICE, "CL_INVALID_PROGRAM_EXECUTABLE"},
    {-46, XS_EDEVICE, "CL_INVALID_KERNEL_NAME"},
    {-48, XS_EDEVICE, "CL_INVALID_KERNEL"},
    {-52, XS_EDEVICE, "CL_INVALID_KERNEL_ARGS"},
    {-54, XS_EDEVICE, "CL_INVALID_WORK_GROUP_SIZE"},
    {-55, XS_EDEVICE, "CL_INVALID_WORK_ITEM_SIZE"},
    {-58, XS_EDEVICE, "CL_INVALID_EVENT"},
    {-59, XS_EDEVICE, "CL_INVALID_OPERATION"},
    {-61, XS_ENOMEM, "CL_INVALID_BUFFER_SIZE"}, /* more than CL_DEVICE_MAX_MEM_ALLOC_SIZE */
    {-63, XS_EDEVICE, "CL_INVALID_GLOBAL_WORK_SIZE"},
    {-1001, XS_EDEVICE, "CL_PLATFORM_NOT_FOUND_KHR"},
};

int xs__opencl_status(int code, const char *what, struct xs_error *err)
{
    struct code known = {code, XS_EDEVICE, "an unknown code"};
    char where[48];
    if (code == XS_CL_SUCCESS)
        return XS_OK;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i].code == code)
            known = codes[i];
    snprintf(where, sizeof where, "opencl.%s", what);
    return xs__fail(err, known.status, where, code, "the driver returns %d, %s", code, known.name);
}

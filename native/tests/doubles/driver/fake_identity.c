/* fake_identity.c - what the fake driver reports about its devices and its streams. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "fake.h"

int cuDeviceGetName(char *name, int length, int device)
{
    ENTER;
    snprintf(name, (size_t)length, "fake %d", device);
    return 0;
}

int cuDeviceGetPCIBusId(char *id, int length, int device)
{
    ENTER;
    snprintf(id, (size_t)length, "0000:%02x:00.0", device + 1);
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    ENTER;
    *bytes = FAKE_MEMORY_BYTES;
    return device < fake_device_count() ? 0 : 1;
}

int cuDeviceGetUuid_v2(unsigned char *uuid, int device)
{
    ENTER;
    memset(uuid, 0xf0 + device, 16);
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    ENTER;
    bool is_known = true;
    if (attribute == 16)
        *value = FAKE_PROCESSORS;
    else if (attribute == 75 || attribute == 76) /* sm_9 0 */
        *value = attribute == 75 ? 9 : 0;
    else if (attribute == 33) /* PCI bus; device 34 and domain 50 are 0 */
        *value = device + 1;
    else if (attribute == 34 || attribute == 50)
        *value = 0;
    else
        is_known = false;
    return device < fake_device_count() && is_known ? 0 : 1;
}

/* The two attributes that XSched reads and our code does not. */

int cuCtxGetDevice(int *device)
{
    ENTER;
    *device = fake_device();
    return 0;
}

int cuStreamGetFlags(void *stream, unsigned *flags)
{
    ENTER;
    *flags = 1;
    return stream != NULL ? 0 : 1;
}

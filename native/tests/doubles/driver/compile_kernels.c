/* compile_kernels.c - a program that compiles the kernels without a GPU:
 *   compile_kernels cuda|hip ARCHITECTURE [LIBRARY [SOURCE]]
 * SOURCE: a text instead of ours. Prints the version of the driver (hip) and the
 * size of the code. Exit 0; 1 with the error on stderr; 77: there is no compiler.
 * Old hiprtc ends its process on an architecture that it does not know. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/gpu/gpu_driver.h"
#include "devices/kernels/gpu_kernels.h"

int main(int count, char **arguments)
{
    if (count < 3)
        return 1;
    const char *path = count > 3 && arguments[3][0] != '\0' ? arguments[3] : NULL;
    const char *source = count > 4 ? arguments[4] : xs__gpu_source;
    bool is_hip = strcmp(arguments[1], "hip") == 0;
    struct xs_gpu_driver driver = {.brand = is_hip ? XS_BRAND_HIP : XS_BRAND_CUDA};
    struct xs_rtc rtc = {0};
    struct xs_error err = {0};
    void *image = NULL;
    size_t bytes;
    int version = 0;
    int rc = is_hip ? xs__gpu_driver_open(&driver, XS_BRAND_HIP, path, &err) : XS_OK;
    if (rc == XS_ENODEV) {
        printf("%s\n", err.message);
        return 77;
    }
    if (rc == XS_OK && is_hip)
        driver.GetVersion(&version);
    printf("version %d\n", version);
    fflush(stdout);
    if (rc == XS_OK)
        rc = xs__rtc_open(&rtc, &driver, is_hip ? NULL : path, &err);
    if (rc == XS_OK)
        rc = xs__rtc_compile(&rtc, source, arguments[2], &image, &bytes, &err);
    if (rc != XS_OK)
        fprintf(stderr, "%s: %s\n", err.where, err.message);
    else
        printf("code %.3s\n", (const char *)image + 1); /* after the 0x7f of an ELF file */
    free(image);
    return rc == XS_OK ? 0 : 1;
}

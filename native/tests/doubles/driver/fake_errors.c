/* fake_errors.c - names and texts of the errors that the fake driver returns. */
#include <stdbool.h>
#include <stddef.h>

static const struct {
    int code;
    const char *name, *text;
} errors[] = {{1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
              {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
              {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
              {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
              {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
              {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
              {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
              {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
               "operation not permitted when stream is capturing"},
              {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
               "operation failed due to a previous error during capture"},
              {904, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
              {999, "CUDA_ERROR_UNKNOWN", "unknown error"}};

static int describe(int code, const char **out, bool is_name)
{
    *out = NULL;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].code == code)
            *out = is_name ? errors[i].name : errors[i].text;
    return *out != NULL ? 0 : 1;
}

int cuGetErrorName(int code, const char **text)
{
    return describe(code, text, true);
}

int cuGetErrorString(int code, const char **text)
{
    return describe(code, text, false);
}

/* fake_nvrtc.c - the compiler of the fake driver, in the same library: it wants to
 * see the kernels in the source and the right architecture, and its code is a text.
 * Its calls can be made to fail as those of fake_cuda.c can. */
#include <stdlib.h>
#include <string.h>

#include "fake.h"

enum {
    SUCCESS = 0,
    OUT_OF_MEMORY = 1,
    INVALID_INPUT = 3,
    INVALID_OPTION = 5
};

struct program {
    const char *source;
};

static const char complaint[] = "kernels.cu(3): error: expected a declaration\n1 error detected\n";

int nvrtcVersion(int *major, int *minor)
{
    ENTER;
    *major = 13;
    *minor = 0;
    return SUCCESS;
}

int nvrtcCreateProgram(void **program, const char *source, const char *name, int count,
                       const char *const *headers, const char *const *names)
{
    ENTER;
    struct program *made = *program = malloc(sizeof *made);
    if (made == NULL)
        return OUT_OF_MEMORY;
    made->source = source;
    return name != NULL && count == 0 && headers == NULL && names == NULL ? SUCCESS : INVALID_INPUT;
}

int nvrtcDestroyProgram(void **program)
{
    free(*program);
    *program = NULL;
    return SUCCESS;
}

int nvrtcCompileProgram(void *program, int count, const char *const *options)
{
    ENTER;
    if (count != 1 || strcmp(options[0], "--gpu-architecture=sm_90") != 0)
        return INVALID_OPTION;
    const char *source = ((struct program *)program)->source;
    return strstr(source, "KERNEL xs_spin(") != NULL ? SUCCESS : INVALID_INPUT;
}

int nvrtcGetCUBINSize(void *program, size_t *bytes)
{
    ENTER;
    *bytes = sizeof FAKE_IMAGE;
    return program != NULL ? SUCCESS : INVALID_INPUT;
}

int nvrtcGetCUBIN(void *program, char *code)
{
    ENTER;
    memcpy(code, FAKE_IMAGE, sizeof FAKE_IMAGE);
    return program != NULL ? SUCCESS : INVALID_INPUT;
}

int nvrtcGetProgramLogSize(void *program, size_t *bytes)
{
    *bytes = sizeof complaint;
    return program != NULL ? SUCCESS : INVALID_INPUT;
}

int nvrtcGetProgramLog(void *program, char *log)
{
    memcpy(log, complaint, sizeof complaint);
    return program != NULL ? SUCCESS : INVALID_INPUT;
}

/* fake_nvrtc.c - the compiler of the fake driver, in the same library. Its code is the source
 * text; #error in the text is a compile error. Its calls can be made to fail like those of
 * fake_cuda.c. */
#include <stdlib.h>
#include <string.h>

#include "fake.h"

enum {
    NO_MEMORY = 1, /* NVRTC_ERROR_OUT_OF_MEMORY */
    INVALID_INPUT = 3,
    INVALID_OPTION = 5,
    COMPILATION = 6
};

/* A long log whose end matters. */
static const char complaint[] = "pytest_xsched.cu(1): error: this is\nthe end of the log\n";
static const size_t before = 5000;

int nvrtcVersion(int *major, int *minor)
{
    ENTER;
    *major = 13;
    *minor = 0;
    return SUCCESS;
}

int nvrtcCreateProgram(char **program, const char *source, const char *name, int count,
                       const char *const *headers, const char *const *names)
{
    ENTER;
    if (name == NULL || count != 0 || headers != NULL || names != NULL)
        return INVALID_INPUT;
    *program = strdup(source);
    return *program != NULL ? SUCCESS : NO_MEMORY;
}

int nvrtcDestroyProgram(char **program)
{
    free(*program);
    *program = NULL;
    return SUCCESS;
}

int nvrtcCompileProgram(char *program, int count, const char *const *options)
{
    ENTER;
    fake_note("compile %s", count == 1 ? options[0] : "?");
    if (count != 1 || strcmp(options[0], "--gpu-architecture=sm_90") != 0)
        return INVALID_OPTION;
    return strstr(program, "#error") == NULL ? SUCCESS : COMPILATION;
}

int nvrtcGetCUBINSize(char *program, size_t *bytes)
{
    ENTER;
    *bytes = strlen(program) + 1;
    return SUCCESS;
}

int nvrtcGetCUBIN(char *program, char *code)
{
    ENTER;
    strcpy(code, program);
    return SUCCESS;
}

int nvrtcGetProgramLogSize(char *program, size_t *bytes)
{
    *bytes = before + sizeof complaint;
    return program != NULL ? SUCCESS : INVALID_INPUT;
}

int nvrtcGetProgramLog(char *program, char *log)
{
    memset(log, '.', before);
    strcpy(log + before, complaint);
    return program != NULL ? SUCCESS : INVALID_INPUT;
}

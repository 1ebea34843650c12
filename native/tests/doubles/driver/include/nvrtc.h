/* nvrtc.h - of NVIDIA's header what bench/native/loop.c uses; see cuda.h. */
#ifndef XS_FAKE_NVRTC_H
#define XS_FAKE_NVRTC_H

#include <stddef.h>

typedef int nvrtcResult;
typedef struct fake_program *nvrtcProgram;

nvrtcResult nvrtcCreateProgram(nvrtcProgram *program, const char *source, const char *name,
                               int count, const char *const *headers, const char *const *names);
nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int count, const char *const *options);
nvrtcResult nvrtcGetCUBINSize(nvrtcProgram program, size_t *bytes);
nvrtcResult nvrtcGetCUBIN(nvrtcProgram program, char *code);

#endif

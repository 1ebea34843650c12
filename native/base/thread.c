/* thread.c - see thread.h. */
#include "base/thread.h"

#include <sys/prctl.h>

struct xs_thread_name xs__thread_rename(const char *name)
{
    struct xs_thread_name old = {""};
    prctl(PR_GET_NAME, old.text, 0UL, 0UL, 0UL);
    prctl(PR_SET_NAME, name, 0UL, 0UL, 0UL);
    return old;
}

/* hal_null.c - a hal without a driver, for tests of the double alone: its queue is the
 * address of a function that synchronizes it. */
#include "preempt.h"

static void synchronize(void *native)
{
    (*(void (**)(void))native)();
}

static const struct hw_driver driver = {.synchronize = synchronize};

PREEMPT_API int NullQueueCreate(HwQueueHandle *hwq, void (**queue)(void));

int NullQueueCreate(HwQueueHandle *hwq, void (**queue)(void))
{
    return preempt_register(hwq, (void *)queue, &driver, NULL);
}

/* hardware.c - the hardware queues and commands of the double: their list, and the calls on
 * them. */
#include "state.h"

#include <stdlib.h>
#include <unistd.h>

#include "faults.h"

#define LARGE 65536 /* bytes: the fault "large-commands" */

static struct hw_queue *hw_queues;
static struct command *commands; /* not submitted */

uint64_t preempt_handle(const void *object)
{
    return (uint64_t)(uintptr_t)object ^ (uint64_t)getpid() << 48;
}

static int unlock(int result)
{
    pthread_mutex_unlock(&preempt_lock);
    return result;
}

/* ---- hardware queues ---------------------------------------------------------------- */

struct hw_queue *preempt_find_hw(HwQueueHandle handle)
{
    struct hw_queue *hw = hw_queues;
    while (hw != NULL && (HwQueueHandle)(uintptr_t)hw->native != handle)
        hw = hw->next;
    return hw;
}

int preempt_register(HwQueueHandle *hwq, void *native, const struct hw_driver *driver,
                     void *context)
{
    if (hwq == NULL)
        return PREEMPT_INVALID_VALUE;
    driver->synchronize(native);
    *hwq = (HwQueueHandle)(uintptr_t)native;
    pthread_mutex_lock(&preempt_lock);
    if (preempt_find_hw(*hwq) != NULL) {
        preempt_log("WARN", "there is a hardware queue of the handle already");
        return unlock(PREEMPT_SUCCESS);
    }
    struct hw_queue *hw = calloc(1, sizeof *hw);
    if (hw == NULL)
        preempt_log("ERRO", "Assertion failed: no memory for a hardware queue");
    *hw = (struct hw_queue){
        .next = hw_queues, .native = native, .driver = driver, .context = context};
    hw_queues = hw;
    return unlock(PREEMPT_SUCCESS);
}

int HwQueueDestroy(HwQueueHandle hwq)
{
    pthread_mutex_lock(&preempt_lock);
    struct hw_queue *hw = preempt_find_hw(hwq), **at = &hw_queues;
    if (hw == NULL)
        return unlock(PREEMPT_NOT_FOUND);
    if (hw->queue != NULL)
        return unlock(PREEMPT_NOT_ALLOWED);
    while (*at != hw)
        at = &(*at)->next;
    *at = hw->next;
    free(hw);
    return unlock(PREEMPT_SUCCESS);
}

/* It bypasses the XQueue, in the thread of the caller. */
int HwQueueLaunch(HwQueueHandle hwq, HwCommandHandle hw_cmd)
{
    pthread_mutex_lock(&preempt_lock);
    struct command *command = preempt_find_hw(hwq) != NULL ? preempt_take_command(hw_cmd) : NULL;
    pthread_mutex_unlock(&preempt_lock);
    if (command == NULL)
        return PREEMPT_NOT_FOUND;
    int rc = command->launch(hwq, command->data);
    free(command);
    return rc;
}

int HwQueueSynchronize(HwQueueHandle hwq)
{
    pthread_mutex_lock(&preempt_lock);
    struct hw_queue *hw = preempt_find_hw(hwq);
    pthread_mutex_unlock(&preempt_lock);
    if (hw == NULL)
        return PREEMPT_NOT_FOUND;
    hw->driver->synchronize(hw->native);
    return PREEMPT_SUCCESS;
}

/* ---- commands ----------------------------------------------------------------------- */

static struct command *find_command(HwCommandHandle handle)
{
    struct command *c = commands;
    while (c != NULL && preempt_handle(c) != handle)
        c = c->next;
    return c;
}

bool preempt_has_command(HwCommandHandle handle)
{
    return find_command(handle) != NULL;
}

struct command *preempt_take_command(HwCommandHandle handle)
{
    struct command *c = find_command(handle);
    if (c == NULL)
        return NULL;
    if (c->before != NULL)
        c->before->next = c->next;
    else
        commands = c->next;
    if (c->next != NULL)
        c->next->before = c->before;
    c->next = c->before = NULL;
    return c;
}

int HwCommandCreateCallback(HwCommandHandle *hw_cmd, LaunchCallback launch, void *data)
{
    size_t size = sizeof(struct command) + (preempt_faults.large_commands ? LARGE : 0);
    struct command *command = calloc(1, size);
    if (hw_cmd == NULL || command == NULL) {
        free(command);
        return PREEMPT_INVALID_VALUE;
    }
    *command = (struct command){.launch = launch, .data = data};
    *hw_cmd = preempt_handle(command);
    pthread_mutex_lock(&preempt_lock);
    command->next = commands;
    if (commands != NULL)
        commands->before = command;
    commands = command;
    return unlock(PREEMPT_SUCCESS);
}

int HwCommandDestroy(HwCommandHandle hw_cmd)
{
    pthread_mutex_lock(&preempt_lock);
    struct command *command = preempt_take_command(hw_cmd);
    free(command);
    return unlock(command != NULL ? PREEMPT_SUCCESS : PREEMPT_NOT_FOUND);
}

/* policy.c - the list of policies. */
#include "policies/policy.h"

#include <string.h>

static const struct xs_policy *const policies[] = {&xs_policy_none, &xs_policy_hpf, &xs_policy_edf,
                                                   &xs_policy_partition, &xs_policy_fair};

#define POLICY_COUNT (sizeof policies / sizeof policies[0])

const char *xs_policy_name(uint32_t n)
{
    return n < POLICY_COUNT ? policies[n]->name : NULL;
}

const struct xs_policy *xs__policy_find(const char *name)
{
    for (size_t i = 0; i < POLICY_COUNT; i++)
        if (strcmp(policies[i]->name, name) == 0)
            return policies[i];
    return NULL;
}

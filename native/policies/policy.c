/* policy.c - the table of policies, made from the list in policy.h, and look-up by name. */
#include "policies/policy.h"

#include <string.h>

#define ADDRESS_OF(name) &xs_policy_##name,
static const struct xs_policy *const policies[] = {XS_POLICIES(ADDRESS_OF)};

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

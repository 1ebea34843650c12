"""The registry of scheduling policies: our own, and those of XSched.

Every module that needs a fact about a policy reads it here. To add a built-in policy, follow
docs/howto/new_policy.md. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A scheduling policy.

    Attributes:
        name: what the scheduler calls it.
        scheduler: whose policy it is: ``"builtin"`` or ``"xsched"``.
        definition: what the policy does, in one or two sentences.
        source: the paper, the standard or the file that defines it; empty: the policy is our own.
        reads: the hints of a queue that the policy reads, as fields of `QueueSpec`; the first one
            decides.
        by_weight: whether the first hint is a weight, by which the policy divides device time. If
            not, the first hint orders the queues.
        stream_priority: whether the streams under the queues get priorities, too; of built-in
            policies. Under a policy that does not order queues by priority, they would work
            against it.
        rules: ids of the rules in `pytest_xsched.stress.rules` that hold for this policy, in
            addition to the general ones.
        number: XSched's number of the policy; None for a built-in one.
    """

    name: str
    scheduler: str
    definition: str
    source: str = ""
    reads: tuple[str, ...] = ()
    by_weight: bool = False
    stream_priority: bool = False
    rules: tuple[str, ...] = ()
    number: int | None = None

    @property
    def text(self) -> str:
        """The definition with its source, for reports."""
        if not self.source:
            return self.definition
        return f"{self.definition.removesuffix('.')} ({self.source})."


BUILTIN = (
    Policy(
        name="none",
        scheduler="builtin",
        definition="No queue waits for another: the device takes commands in the order in which "
        "they come.",
        stream_priority=True,
    ),
    Policy(
        name="hpf",
        scheduler="builtin",
        definition="The ready queues of the highest priority run, and all others wait.",
        source="XSched, OSDI'25, section 5",
        reads=("priority",),
        stream_priority=True,
        rules=("inversion is bounded", "highest first", "delay of the highest"),
    ),
    Policy(
        name="edf",
        scheduler="builtin",
        definition="The queue whose oldest request is due first runs.",
        source="C. L. Liu, J. W. Layland, 1973",
        reads=("deadline_ns",),
        rules=("earliest first",),
    ),
    Policy(
        name="partition",
        scheduler="builtin",
        definition="Queues get device time in proportion to their utilization, by stride "
        "scheduling.",
        source="C. A. Waldspurger, W. E. Weihl, 1995",
        reads=("utilization",),
        by_weight=True,
        rules=("time by weight",),
    ),
    Policy(
        name="fair",
        scheduler="builtin",
        definition="Queues get device time in proportion to their weights; a weight grows by a "
        "factor of 1.2 with each step of priority.",
        source="as CFS of Linux",
        reads=("priority",),
        by_weight=True,
        rules=("time by weight",),
    ),
)
"""Our own policies, which are those of the list in native/policies/policy.h."""

XSCHED = (
    Policy(
        name="hpf",
        scheduler="xsched",
        number=1,
        definition="The ready queues of the highest priority of a device run, and all others are "
        "suspended.",
        source="XSched, OSDI'25, section 5",
        reads=("priority",),
        rules=("inversion is bounded", "highest first", "equals run together"),
    ),
    Policy(
        name="hhpf",
        scheduler="xsched",
        number=2,
        definition="Like hpf, with one highest priority over all devices.",
        source="XSched, OSDI'25, section 6",
        reads=("priority",),
        rules=("inversion is bounded", "highest first", "equals run together"),
    ),
    Policy(
        name="chpf",
        scheduler="xsched",
        number=3,
        definition="Like hpf by the kernel's priority of the process, so the queues of one process "
        "run together.",
        source="chpf.h of XSched",
        reads=("priority",),
        rules=("equals run together",),
    ),
    Policy(
        name="up",
        scheduler="xsched",
        number=4,
        definition="Queues take turns. Each runs for its utilization's part of the timeslice; a "
        "queue without a hint has a utilization of 100.",
        source="up.h, types.h of XSched; XSched, OSDI'25, section 5",
        reads=("utilization",),
        by_weight=True,
        rules=("time by weight", "takes turns"),
    ),
    Policy(
        name="pup",
        scheduler="xsched",
        number=5,
        definition="Like up by process, so the queues of one process run together.",
        source="pup.h of XSched",
        reads=("utilization",),
        by_weight=True,
        rules=("equals run together",),
    ),
    Policy(
        name="kedf",
        scheduler="xsched",
        number=7,
        definition="The k ready queues that are due first run. A queue is due its deadline after "
        "the begin of its burst.",
        source="K-EDF; K. K. W. Ng and others, Paella, SOSP'23",
        reads=("deadline_ns",),
        rules=("earliest first",),
    ),
    Policy(
        name="lax",
        scheduler="xsched",
        number=8,
        definition="Queues of the highest priority run. A queue gets its critical priority when it "
        "has been ready for longer than its laxity.",
        source="XSched, OSDI'25, section 7",
        reads=("laxity_ns", "priority"),
        rules=("critical first", "equals run together"),
    ),
    Policy(
        name="awf",
        scheduler="xsched",
        number=9,
        definition="While a process has the active window, other processes wait. Without a window "
        "none waits, so the queues of one process run together.",
        source="awf.h of XSched",
        rules=("equals run together",),
    ),
    Policy(
        name="cfs",
        scheduler="xsched",
        number=10,
        definition="The ready queue that had the least device time for its weight runs. A weight "
        "grows by a factor of 1.2 with each step of priority; a tick takes 1 ms.",
        source="cfs.h of XSched; sched-design-CFS of Linux",
        reads=("priority",),
        by_weight=True,
        rules=("time by weight", "takes turns"),
    ),
    Policy(
        name="mlfq",
        scheduler="xsched",
        number=11,
        definition="Queues take turns of 10 to 80 ms. The more a queue uses, the longer its turns "
        "and the lower its rank.",
        source="mlfq.h of XSched; F. J. Corbato and others, 1962",
        rules=("time by weight", "takes turns"),
    ),
)
"""XSched's policies that can be chosen, with the numbers of its C API (xsched/types.h)."""

POLICIES = tuple(policy.name for policy in BUILTIN)
"""Names of our own policies."""
XSCHED_POLICIES = tuple(policy.name for policy in XSCHED)
"""Names of XSched's policies."""

_BY_NAME = {(policy.scheduler, policy.name): policy for policy in (*BUILTIN, *XSCHED)}


def policy_of(scheduler: str, name: str) -> Policy:
    """Return a policy by its scheduler, ``"builtin"`` or ``"xsched"``, and its name.

    Raises:
        KeyError: the scheduler has no such policy.
    """
    return _BY_NAME[scheduler, name]

"""The catalogue of rules that schedules keep: each rule has an id and one definition.

Checkers refer to the ids: `invariants` (a run in virtual time, exact), `step_executor` (live
queues) and `conformance.realtime_checks` (a run under XSched, with room for a busy machine).
`base.policies` names the rules that a policy keeps in addition to the general ones.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RULES", "Rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that must hold.

    Attributes:
        id: short, for reports.
        definition: what must hold, in one or two sentences.
        source: where the rule comes from; empty: it follows from what a queue is.
        general: whether it holds for runs of every policy, and not only for those that name it.
        live: whether it holds for live queues under hpf.
        of: the only runs or policies that the rule is about, for reports; empty: not named.
    """

    id: str
    definition: str
    source: str = ""
    general: bool = False
    live: bool = False
    of: str = ""

    @property
    def text(self) -> str:
        """The definition with its source, for reports."""
        if not self.source:
            return self.definition
        return f"{self.definition.removesuffix('.')} ({self.source})."


_ALL = (
    # Of the process and of the scheduler.
    Rule(
        id="returns in time",
        definition="Every call returns, and the measuring process ends by itself, with a result.",
        general=True,
        of="runs under XSched",
    ),
    Rule(
        id="in effect",
        definition="XSched reports that the policy is in effect, and hints decide which of two "
        "queues goes first.",
        general=True,
        of="runs under XSched",
    ),
    # Of every queue.
    Rule(
        id="nothing lost, nothing twice",
        definition="Every command that was submitted is launched once and completes once.",
        general=True,
        live=True,
    ),
    Rule(
        id="all through XSched",
        definition="XSched counts and launches as many commands as it received.",
        general=True,
        of="runs under XSched",
    ),
    Rule(
        id="order of counts",
        definition="At every moment completed <= launched <= submitted, and no count ever falls.",
        live=True,
    ),
    Rule(
        id="in order",
        definition="A queue launches and completes its commands in the order of submission.",
        general=True,
        live=True,
    ),
    Rule(
        id="threshold",
        definition="A queue never has more commands in flight than its threshold; after the "
        "threshold has changed, the largest one counts.",
        source="progressive command launching, XSched, OSDI'25, section 4",
        general=True,
        live=True,
    ),
    Rule(
        id="everything ends",
        definition="When arrivals end, all requests complete, except those of a queue that the "
        "policy lets wait for a closed loop.",
        general=True,
    ),
    Rule(
        id="works while there is work",
        definition="The device is never idle while a queue has work.",
        general=True,
    ),
    # Of queues that start after others.
    Rule(
        id="starts after",
        definition="A request that starts after one of another queue launches nothing before that "
        "one is complete.",
        general=True,
        live=True,
    ),
    Rule(
        id="no circular wait",
        definition="A request that starts after one of another queue completes when no further "
        "queue has work.",
        general=True,
        live=True,
    ),
    Rule(
        id="inversion is bounded",
        definition="A queue that starts after one of lower priority waits for the work of that "
        "one, for that of queues which go before it, for what was in flight, and for nothing else.",
        source="L. Sha, R. Rajkumar, J. P. Lehoczky, 1990",
        live=True,
        of="policies that order the queues of a process by priority",
    ),
    # Of the order of queues.
    Rule(
        id="highest first",
        definition="While a queue is ready, no queue of lower priority launches.",
        source="HPF of XSched",
        live=True,
        of="policies that order the queues of a process by priority",
    ),
    Rule(
        id="a new policy decides",
        definition="After a change of the policy the new one decides which queues run, and none "
        "stays suspended.",
        live=True,
    ),
    Rule(
        id="devices are apart",
        definition="A queue does not wait for the work of a queue on another device.",
        source="XDevice of XSched: a policy by priority decides for each device",
        live=True,
    ),
    Rule(
        id="delay of the highest",
        definition="The only queue of the highest priority waits for the commands that other "
        "queues had in flight when its burst began, and for nothing else.",
        of="runs of our own hpf, in virtual time,",
    ),
    Rule(
        id="earliest first",
        definition="While a request waits, no queue launches that is due later. A queue without a "
        "deadline is due last.",
        source="C. L. Liu, J. W. Layland, 1973",
        live=True,
        of="policies that order queues by deadline",
    ),
    Rule(
        id="critical first",
        definition="When a queue has been ready for longer than its laxity, no queue launches that "
        "is less urgent.",
        live=True,
        of="policies that read a laxity",
    ),
    Rule(
        id="equals run together",
        definition="A queue does not keep another queue from running if the policy treats the two "
        "alike.",
        live=True,
        of="policies under which several queues run at a time",
    ),
    Rule(
        id="time by weight",
        definition="Queues that have work at the same time get device time in proportion to their "
        "weights, apart from a turn of each and from what is in flight at its end.",
        source="C. A. Waldspurger, W. E. Weihl, 1995",
        live=True,
        of="policies that divide time among the queues of a process",
    ),
    Rule(
        id="takes turns",
        definition="A waiting queue has its turn when all others had one, no matter what any of "
        "them used before.",
        of="policies with turns of a known length, in real time,",
    ),
    # Of live queues only.
    Rule(
        id="highest runs",
        definition="Ready queues of the highest priority launch what their thresholds allow.",
        source="HPF of XSched",
        live=True,
    ),
    Rule(
        id="held launches nothing",
        definition="A queue launches nothing between suspend() and resume().",
        live=True,
    ),
    Rule(
        id="a fresh queue is fresh",
        definition="A new queue has counts of zero and the priority that it was created with.",
        live=True,
    ),
    Rule(
        id="off means off",
        definition="When the scheduler is switched off, every queue runs that the user does not "
        "hold.",
        live=True,
    ),
    Rule(
        id="idle burns nothing",
        definition="While no queue has work, the process uses less than half a processor.",
        live=True,
    ),
    # Of what a scheduler costs; `costs` measures it on live queues.
    Rule(
        id="rests without work",
        definition="While no queue has work, each thread of the scheduler wakes up at most 100 "
        "times a second.",
        live=True,
    ),
    Rule(
        id="costs little",
        definition="With 200 requests a second, each on an idle queue, the threads of the "
        "scheduler use at most a fifth of a processor.",
        live=True,
    ),
    Rule(
        id="wake-ups grow with events",
        definition="A request on one of twelve queues wakes threads of the scheduler about as "
        "often as a request on a single queue, at a low and at a high rate: at most twice as "
        "often, and four times more.",
        live=True,
    ),
    Rule(
        id="memory is given back",
        definition="After a burst of commands, the process has no more memory than before: at most "
        "16 bytes for each command.",
        live=True,
    ),
    Rule(
        id="a destroyed queue leaves nothing",
        definition="After queues were created, used and destroyed, the process has no more memory "
        "than before, at most 1024 bytes for each queue, and the scheduler no more threads.",
        live=True,
    ),
    Rule(
        id="commands are small",
        definition="A command that was submitted and not launched takes at most 4096 bytes of "
        "memory.",
        live=True,
    ),
    Rule(
        id="suspend returns soon",
        definition="suspend() and resume() return within 100 ms.",
        live=True,
    ),
    Rule(id="no call fails", definition="No call raises an error.", live=True),
    Rule(id="the process survives", definition="No call ends its process.", live=True),
    Rule(
        id="returns",
        definition="Each call returns, and so does each wait for a queue that the user does not "
        "hold. Reports name the call: `wait returns`, `destroy returns`. They add `of a held "
        "queue` or `next to a held queue` if the user held that queue, or another one, with work.",
        live=True,
    ),
    # Of processes under XSched's shim.
    Rule(
        id="ends as without",
        definition="A program ends under XSched as it ends without it: in time, with the same exit "
        "status, also with pending work.",
    ),
    Rule(
        id="a child works as without",
        definition="A forked child, a process that a program starts, and a program that a process "
        "becomes by exec use the device and end as they do without XSched.",
    ),
    Rule(
        id="a child is scheduled",
        definition="XSched's shim is also in the programs that a process under it starts or "
        "becomes.",
    ),
    Rule(
        id="the server stays",
        definition="XSched's server runs until it is stopped, in whatever way its programs end.",
    ),
    Rule(
        id="any pid namespace",
        definition="A program in a pid namespace of its own, as in a container, works under a "
        "server outside of it.",
    ),
    Rule(
        id="the server may go",
        definition="When XSched's server ends, the programs under it go on without it.",
    ),
    Rule(
        id="the server may come back",
        definition="When XSched's server has started again, it schedules the programs that ran "
        "meanwhile.",
    ),
    Rule(
        id="hints from outside",
        definition="When XSched's server takes a priority for a program that runs, as from xcli, "
        "the programs that run are scheduled by it.",
    ),
)

RULES = {rule.id: rule for rule in _ALL}
"""All rules, by id."""

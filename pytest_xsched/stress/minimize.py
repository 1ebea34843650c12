"""What random steps find out about a scheduler that may end or hang its process, as data.

`first_broken` takes random steps until a rule does not hold, and then looks for the fewest steps
that break it: each attempt behind a failed one is in a fresh process. hypothesis's own shrinking,
which `check_xqueues` has, takes hundreds of attempts, and a call that hangs takes seconds.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

try:
    import hypothesis
    from hypothesis import Phase
    from hypothesis.stateful import run_state_machine_as_test
except ModuleNotFoundError:
    from pytest_xsched.base.extras import require_extra

    require_extra("hypothesis", "hypothesis")
    raise

from pytest_xsched.runner.live_queues import XQueues
from pytest_xsched.stress.state_machine import Homes, XQueuesMachine, machine_of
from pytest_xsched.stress.step_executor import Player
from pytest_xsched.stress.steps import BrokenRule, Step

_TRIES = 3
"""To break a rule again: a scheduler works while steps are taken, so that chance has a part."""
_STEPS = hypothesis.settings(max_examples=100, stateful_step_count=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule that did not hold.

    Attributes:
        rule: its name, see `steps.RULES`.
        sentence: what was seen.
        steps: the fewest that were found to break it, as lines of Python.
        reproduced: whether they did so in a fresh process.
    """

    rule: str
    sentence: str
    steps: tuple[str, ...]
    reproduced: bool

    def __str__(self) -> str:
        """Write it as text of several lines."""
        seen = "" if self.reproduced else " (seen once, and not again in a fresh process)"
        return "\n".join([f"{self.rule}: {self.sentence}{seen}", *self.steps])


_Program = tuple[Step, ...]


class _Found(BaseException):
    """Ends hypothesis at once: it would repeat what it takes for an error."""

    def __init__(self, broken: BrokenRule, before: Sequence[Step]) -> None:
        super().__init__(broken)
        self.broken = broken
        self.before = tuple(before)  # in the same process, with other queues


class _Hunter(XQueuesMachine):
    """The machine that stops at what it finds."""

    def do(self, moves: Callable[[], None]) -> None:
        try:
            super().do(moves)
        except BrokenRule as broken:
            raise _Found(broken, self.source.history) from broken


def first_broken(
    make: Callable[[], XQueues],
    settings: hypothesis.settings | None = None,
    *,
    devices: int = 1,
    without: Collection[str] = (),
    patience: str = "10s",
) -> Finding | None:
    """Take random steps on live XQueues until a rule does not hold, and say how to break it.

    Args:
        make: opens live XQueues: ``lambda: xsched.live(scheduler=XSched(policy="cfs"))``.
        settings: of hypothesis: how many sequences, and of how many steps; 100 of 15.
        devices: how many are open at once.
        without: names of rules that are not looked at: those that a scheduler does not claim, and
            those that were found broken before. Steps that would break them are left out.
        patience: how long a wait for a queue may take.

    Returns:
        The first broken rule with few steps that break it; None: all hold.
    """
    given = _STEPS if settings is None else settings
    quiet = hypothesis.settings(
        given,
        phases=[phase for phase in given.phases if phase is Phase.generate],
        database=None,
        deadline=None,
        verbosity=hypothesis.Verbosity.quiet,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    homes = Homes(make, devices)
    try:
        run_state_machine_as_test(machine_of(_Hunter, homes, without, patience), settings=quiet)
    except _Found as found:
        return _fewest(homes, found, without, patience)
    finally:
        homes.close()
    return None


def all_broken(
    make: Callable[[], XQueues],
    settings: hypothesis.settings | None = None,
    *,
    without: Collection[str] = (),
    patience: str = "10s",
    most: int = 10,
) -> list[Finding]:
    """Repeat `first_broken`, each time without the rules that were found broken before."""
    found: list[Finding] = []
    while len(found) < most:
        known = {*without, *(finding.rule for finding in found)}
        finding = first_broken(make, settings, without=known, patience=patience)
        if finding is None:
            break
        found.append(finding)
    return found


# ---- fewest steps


def _fewest(homes: Homes, found: _Found, without: Collection[str], patience: str) -> Finding:
    def again(steps: _Program, tries: int = 1) -> BrokenRule | None:
        """Say how it breaks the rule in a fresh process: in a used one, what was before may."""
        while tries:
            broken = _play(homes, steps, without, patience)
            same = broken is not None and found.broken.rule.startswith(broken.rule)
            if same and homes.were_fresh:  # or the same with nobody held, which is simpler
                return broken
            tries -= broken is None or homes.were_fresh
        return None

    own = tuple(found.broken.steps)
    for program, tries in ((_barest(own), 1), (own, _TRIES), (found.before + own, _TRIES)):
        if (best := again(program, tries)) is not None:
            return _finding(_shrunk(best, again), reproduced=True)
    return _finding(found.broken, reproduced=False)


def _finding(broken: BrokenRule, *, reproduced: bool) -> Finding:
    return Finding(
        rule=broken.rule,
        sentence=broken.sentence,
        steps=tuple(map(str, _numbered(broken.steps))),
        reproduced=reproduced,
    )


def _shrunk(best: BrokenRule, again: Callable[[_Program, int], BrokenRule | None]) -> BrokenRule:
    """Make it simpler as long as it breaks the same rule."""
    # What is seen at once, and not by waiting in vain, may be tried once more.
    tries = 1 if " returns" in best.rule else 2
    for simpler in (_without_a_queue, _without_a_step, _without_a_hold, _with_a_plain_step):
        at = 0
        while at < len(programs := simpler(best.steps)):
            broken = again(programs[at], tries)
            # What the player does in the end counts, too: it is printed.
            longest = len(best.steps) - (len(programs[at]) < len(best.steps))
            if broken is not None and len(broken.steps) <= longest:
                best = broken  # what was tried stands before `at` here, too
            else:
                at += 1
    return best


def _play(
    homes: Homes, steps: Sequence[Step], without: Collection[str], patience: str
) -> BrokenRule | None:
    opened = homes.open()
    broken: BrokenRule | None = None
    try:
        player = Player(opened, without=without, patience=patience)
        for step in steps:
            player.take(step)
        player.finish()
    except BrokenRule as error:
        broken = error
    finally:
        homes.leave(opened, broken=broken is not None)
    return broken


def _barest(steps: _Program) -> _Program:
    """Give the last step and what makes its queue."""
    last = steps[-1]
    return tuple(s for s in steps if s is last or (s.does == "create" and s.queue == last.queue))


def _without_a_queue(steps: _Program) -> list[_Program]:
    queues = sorted({step.queue for step in steps[:-1]} - {steps[-1].queue})
    return [tuple(step for step in steps if step.queue != queue) for queue in queues]


def _without_a_hold(steps: _Program) -> list[_Program]:
    """Leave out a suspend with the resume behind it: neither may be wanted without the other."""
    pairs = [
        (i, j)
        for i, j in itertools.combinations(range(len(steps)), 2)
        if (steps[i].does, steps[j].does) == ("suspend", "resume")
        and steps[i].queue == steps[j].queue
    ]
    return [tuple(s for k, s in enumerate(steps) if k not in pair) for pair in pairs]


def _without_a_step(steps: _Program) -> list[_Program]:
    return [steps[:i] + steps[i + 1 :] for i in range(len(steps))]


def _with_a_plain_step(steps: _Program) -> list[_Program]:
    plain = [Step(does=step.does, queue=step.queue, home=step.home) for step in steps]
    return [
        (*steps[:i], plain[i], *steps[i + 1 :]) for i in range(len(steps)) if plain[i] != steps[i]
    ]


def _numbered(steps: _Program) -> _Program:
    """Count the queues from 0."""
    numbers = {step.queue: i for i, step in enumerate(s for s in steps if s.does == "create")}
    return tuple(dataclasses.replace(s, queue=numbers.get(s.queue, s.queue)) for s in steps)

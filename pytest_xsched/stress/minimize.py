"""Find the fewest steps that break a rule, with a scheduler that may end or hang its process.

`first_broken` takes random steps, and each pair of steps, until a rule breaks. Then it searches for
the fewest steps that break it. Each attempt after a failed one runs in a fresh process.
`check_xqueues` leaves that to hypothesis, which needs hundreds of attempts; a call that hangs takes
seconds.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

try:
    import hypothesis
    from hypothesis import Phase
    from hypothesis.stateful import run_state_machine_as_test
except ModuleNotFoundError:
    from pytest_xsched.base.extras import require_extra

    require_extra("hypothesis", "hypothesis")
    raise

from pytest_xsched.base.units import parse_duration
from pytest_xsched.runner.live_queues import XQueues
from pytest_xsched.stress import overlap
from pytest_xsched.stress.costs import first_breach
from pytest_xsched.stress.pairs import pairs_of_steps
from pytest_xsched.stress.state_machine import OpenDevices, XQueuesMachine, is_flaky, machine_of
from pytest_xsched.stress.steps import BrokenRule, Step, numbered

__all__ = ["Counterexample", "all_broken", "first_broken", "times_broken"]

_HURRY = "1s"
"""How long a wait or a call may take in the search for fewer steps, if the patience is longer: most
attempts there end in a hang. The result is tried once more with the whole patience."""
_SHALLOW = (10, 6)
"""Random sequences and their steps in a first search: the later ones are longer."""
_TRIES = 3
"""Attempts to break a rule again: a scheduler works in parallel, so chance has a part."""
REPEATS = 3
"""Fresh processes in which the fewest steps are taken again."""
_LONGER = 4
"""How many longer programs are tried where the shortest one breaks the rule only sometimes."""
_STEPS = hypothesis.settings(max_examples=200, stateful_step_count=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterexample:
    """Steps that break a rule.

    Attributes:
        rule: id of the rule, see `rules.RULES`; of "returns" the call that did not return.
        sentence: the breach.
        steps: the fewest steps that were found to break the rule, as lines of Python.
        reproduced: in how many of `repeats` fresh processes they broke it again.
        repeats: fresh processes in which they were taken again.
        program: the same steps as data, for `times_broken`.
    """

    rule: str
    sentence: str
    steps: tuple[str, ...]
    reproduced: int
    repeats: int
    program: tuple[Step, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        """Return the rule, the breach and the steps, as lines of text."""
        seen = ""
        if not self.reproduced:
            seen = " (seen once, but not again in a fresh process)"
        elif self.reproduced < self.repeats:
            seen = f" (seen again in {self.reproduced} of {self.repeats} fresh processes only)"
        return "\n".join([f"{self.rule}: {self.sentence}{seen}", *self.steps])


_Program = tuple[Step, ...]


class _Found(BaseException):
    """Ends hypothesis at once; hypothesis would repeat the steps after an Exception."""

    def __init__(self, broken: BrokenRule, before: Sequence[Step]) -> None:
        super().__init__(broken)
        self.broken = broken
        self.before = tuple(before)  # steps in the same process, with other queues


class _StopsAtFirst(XQueuesMachine):
    """The state machine that stops at the first broken rule."""

    found: list[_Found]
    is_simplest = False
    """Whether hypothesis draws its simplest sequence next, as it does first in each search."""

    def __init__(self) -> None:
        try:
            super().__init__()
        except BrokenRule as broken:  # there are no live queues
            self.found.append(_Found(broken, ()))
            raise self.found[-1] from broken

    def do(self, action: Callable[[], None]) -> None:
        if type(self).is_simplest:
            type(self).is_simplest = False
            hypothesis.reject()
        try:
            super().do(action)
        except BrokenRule as broken:
            self.found.append(_Found(broken, self.source.history))
            raise self.found[-1] from broken


def first_broken(
    make: Callable[[], XQueues],
    settings: hypothesis.settings | None = None,
    *,
    devices: int = 1,
    without: Collection[str] = (),
    patience: str = "10s",
    shown: Counter[str] | None = None,
) -> Counterexample | None:
    """Take random steps on live XQueues until a rule breaks, and minimize the steps.

    Args:
        make: opens live XQueues: ``lambda: xsched.live(scheduler=XSched(policy="cfs"))``.
        settings: of hypothesis: the count of sequences and of their steps; default 200 of 20.
        devices: how many devices are open at once.
        without: ids of rules that are not checked: rules that a scheduler does not claim, and rules
            that were found broken before. Steps that would break them are left out.
        patience: how long a wait for a queue may take.
        shown: receives, by rule, the count of random sequences of steps that checked it.

    Returns:
        The first broken rule with few steps that break it; None: all rules hold.
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
    pool = OpenDevices(make, devices)
    machine = machine_of(_StopsAtFirst, pool, without, patience)
    machine.found = []
    try:
        chance = random.Random(0) if given.derandomize else random.Random()
        _take_pairs(pool, without, patience, quiet.max_examples, chance)
        _take_sequences(machine, _shallow(quiet), chance)
        if (costly := _first_too_costly(pool, without, patience)) is not None:
            return costly if costly.steps or costly.rule not in without else None
        _take_sequences(machine, quiet, chance)
    except _Found as found:
        if not found.broken.steps and found.broken.rule in without:
            return None  # what is known already, and nothing can be tried
        return _fewest(pool, found, without, patience)
    except Exception as error:
        # What is random in a scheduler is a fault of the scheduler, and not of the test.
        if not is_flaky(error) or not machine.found:
            raise
        return _fewest(pool, machine.found[0], without, patience)
    finally:
        pool.close()
        if shown is not None:
            shown.update(pool.shown)
    return None


def _shallow(settings: hypothesis.settings) -> hypothesis.settings:
    """Return settings for fewer and shorter sequences."""
    examples, steps = _SHALLOW
    return hypothesis.settings(
        settings,
        max_examples=min(examples, settings.max_examples),
        stateful_step_count=min(steps, settings.stateful_step_count),
    )


def _take_sequences(
    machine: type[_StopsAtFirst], settings: hypothesis.settings, chance: random.Random
) -> None:
    """Take random sequences of steps, each in a search of its own.

    In one search, hypothesis makes most sequences from those before, so they would be alike.
    """
    one = hypothesis.settings(settings, max_examples=1, derandomize=False)
    for _ in range(settings.max_examples):
        machine.is_simplest = True
        run_state_machine_as_test(hypothesis.seed(chance.getrandbits(64))(machine), settings=one)


def _take_pairs(
    pool: OpenDevices, without: Collection[str], patience: str, most: int, chance: random.Random
) -> None:
    """Take pairs of steps in a random order, at most as many as there are random sequences.

    Raises:
        _Found: a rule broke.
    """
    order = list(range(len(pairs_of_steps(0))))
    chance.shuffle(order)
    for number in order[:most]:
        made = sum(step.does == "create" for step in pool.history)
        broken = pool.play(pairs_of_steps(made)[number], without, patience)
        pool.shown.update(pool.played)
        if broken is not None:
            raise _Found(broken, pool.history)


def times_broken(
    make: Callable[[], XQueues],
    found: Counterexample,
    repeats: int,
    *,
    without: Collection[str] = (),
    patience: str = "10s",
) -> int:
    """Take the steps of a counterexample again, and count how often they break the rule.

    Args:
        make: as for `first_broken`, like the other arguments.
        found: what `first_broken` returned.
        repeats: how often to take the steps, each time in a fresh process.
    """
    count = 0
    for _ in range(repeats):
        pool = OpenDevices(make, 1 + max((step.device for step in found.program), default=0))
        broken = pool.play(found.program, without, patience)
        pool.close()
        count += broken is not None and broken.rule == found.rule
    return count


def all_broken(
    make: Callable[[], XQueues],
    settings: hypothesis.settings | None = None,
    *,
    without: Collection[str] = (),
    patience: str = "10s",
    most: int = 10,
    say: Callable[[str], None] | None = None,
    shown: Counter[str] | None = None,
) -> list[Counterexample]:
    """Repeat `first_broken`, each time without the rules that were found broken before.

    Args:
        make: as for `first_broken`, like the other arguments.
        most: the most counterexamples to search for.
        say: prints each counterexample as soon as it is found, because the search for all of them
            may take minutes: ``print``. None: nothing is printed.
        shown: receives, by rule, the count of random sequences of steps that checked it.
    """
    found: list[Counterexample] = []
    while len(found) < most:
        known = {*without, *(one.rule for one in found)}
        counterexample = first_broken(make, settings, without=known, patience=patience, shown=shown)
        # A process that ends, or a call that fails, ends the steps even where that is known.
        if counterexample is None or counterexample.rule in known:
            break
        found.append(counterexample)
        if say is not None:
            say(str(counterexample))
    return found


# ---- fewest steps


def _first_too_costly(
    pool: OpenDevices, without: Collection[str], patience: str
) -> Counterexample | None:
    """Take the steps that measure, which are no matter of chance, and then once more."""

    def play(steps: _Program) -> BrokenRule | None:
        broken = pool.play(steps, without, patience)
        pool.shown.update(pool.played)
        return broken

    broken = first_breach(play, without)
    return None if broken is None else _surest(pool, [broken], without, patience)


def _fewest(
    pool: OpenDevices, found: _Found, without: Collection[str], patience: str
) -> Counterexample:
    def attempts(limit: str, *, hurry: bool) -> Callable[[_Program, int], BrokenRule | None]:
        in_vain: set[tuple[_Program, int]] = set()

        def again(steps: _Program, tries: int) -> BrokenRule | None:
            """Return the breach; without a hurry in a fresh process.

            In a used one, earlier steps may cause it, but a process takes a second to start.
            """
            left = 0 if (steps, tries) in in_vain else tries
            while left:
                broken = pool.play(steps, without, limit, hurry=hurry)
                same = broken is not None and found.broken.rule.startswith(broken.rule)
                valid = hurry or pool.were_fresh
                if same and valid:  # or the same without a held queue, which is simpler
                    return broken
                left -= broken is None or valid
            in_vain.add((steps, tries))
            return None

        return again

    if not found.broken.steps:
        return _surest(pool, [found.broken], without, patience)
    short = min(patience, _HURRY, key=lambda text: parse_duration(text, what="patience"))
    # What is slow is no hang: then the same again, with the whole patience.
    for again in (attempts(short, hurry=True), attempts(patience, hurry=False)):
        if breaches := _simplest(found, again):
            surest = _surest(pool, breaches, without, patience)
            if surest.reproduced:
                return surest
    return _counterexample(found.broken, 0)


def _surest(
    pool: OpenDevices, breaches: Sequence[BrokenRule], without: Collection[str], patience: str
) -> Counterexample:
    """Take steps again in fresh processes, and return those that break their rule most often.

    Args:
        breaches: with ever fewer steps. The fewest ones come first, and longer ones only if these
            break the rule sometimes.
    """
    best: Counterexample | None = None
    for broken in breaches[: -_LONGER - 2 : -1]:
        steps, again = tuple(broken.steps), 0
        for _ in range(REPEATS):
            pool.close()  # in a used process, earlier steps may be the cause
            now = pool.play(steps, without, patience)
            pool.shown.update(pool.played)
            if now is not None and broken.rule.startswith(now.rule):
                again, broken = again + 1, now
        if best is None or again > best.reproduced:
            best = _counterexample(broken, again)
        if again in (0, REPEATS):
            break
    assert best is not None
    return best


def _simplest(
    found: _Found, again: Callable[[_Program, int], BrokenRule | None]
) -> list[BrokenRule]:
    """Return breaches with ever fewer steps; empty: no steps break the rule again."""
    own = tuple(found.broken.steps)
    # The cause is often among the last steps of the example before.
    parts = [found.before[-last:] for last in (8, 32) if last < len(found.before)]
    earlier = [(before + own, _TRIES) for before in (*parts, found.before)]
    programs = [(_barest(own), 1), (_of_one_queue(own), 1), (own, _TRIES)]
    for program, tries in programs + earlier:
        if (best := again(program, tries)) is not None:
            return _shrunk(best, again)
    return []


def _counterexample(broken: BrokenRule, reproduced: int) -> Counterexample:
    return Counterexample(
        rule=broken.rule,
        sentence=broken.sentence,
        steps=tuple(map(str, numbered(broken.steps))),
        program=tuple(broken.steps),
        reproduced=reproduced,
        repeats=REPEATS,
    )


def _shrunk(
    best: BrokenRule, again: Callable[[_Program, int], BrokenRule | None]
) -> list[BrokenRule]:
    """Make the steps simpler as long as they break the same rule; return all that do."""
    found, seen = [best], {tuple(best.steps)}
    # A breach that shows at once, and not by waiting in vain, gets a second attempt.
    tries = 1 if " returns" in best.rule else 2
    for simpler, times in (
        *((each, 1) for each in (overlap.simpler, _without_a_part, _without_a_queue)),
        *((each, 1) for each in (_without_steps(2), _without_steps(1), _without_a_hold)),
        *((each, 1) for each in (_with_an_earlier_hold, _without_steps(1), overlap.simpler)),
        # Shorter work may be over too early, but by chance only sometimes.
        *((each, _TRIES) for each in (_with_plain_steps, _with_a_plain_step)),
    ):
        at = 0
        while at < len(programs := simpler(best.steps)):
            broken = _each_time(programs[at], tries, times, again)
            # The steps of the executor at the end count, too: they are printed. With them a simpler
            # program may be one that was there before.
            longest = len(best.steps) - (len(programs[at]) < len(best.steps))
            if broken is None or len(broken.steps) > longest or tuple(broken.steps) in seen:
                at += 1
                continue
            best = broken  # programs before `at` were tried for these steps, too
            seen.add(tuple(best.steps))
            found.append(best)
    return found


def _each_time(
    steps: _Program, tries: int, times: int, again: Callable[[_Program, int], BrokenRule | None]
) -> BrokenRule | None:
    """Return the breach that steps show in each of some times; None: they do not."""
    broken = None
    for _ in range(times):
        if (broken := again(steps, tries)) is None:
            break
    return broken


def _barest(steps: _Program) -> _Program:
    """Return the last step and the step that creates its queue."""
    last = steps[-1]
    return tuple(s for s in steps if s is last or (s.does == "create" and s.queue in last.queues))


def _without_a_part(steps: _Program) -> list[_Program]:
    """Leave out a half, a quarter, an eighth: many steps may come from earlier examples."""
    count = len(steps) - 1
    parts = [
        (begin, begin + size)
        for size in (count // 2, count // 4, count // 8)
        if size > 1
        for begin in range(0, count, size)
    ]
    return [steps[:begin] + steps[min(end, count) :] for begin, end in parts]


def _of_one_queue(steps: _Program) -> _Program:
    """Return the steps on the queue of the last step."""
    return tuple(step for step in steps if step.queue == steps[-1].queue)


def _without_a_queue(steps: _Program) -> list[_Program]:
    queues = sorted({step.queue for step in steps[:-1]} - {steps[-1].queue})
    return [_without(steps, queue) for queue in queues]


def _without(steps: _Program, queue: int) -> _Program:
    """Return the steps that are not about a queue; of overlapping ones, only those stay."""
    kept: list[Step] = []
    for step in steps:
        if step.does == "together":
            inner = _without(step.steps, queue)
            kept += [dataclasses.replace(step, steps=inner)] if len(inner) > 1 else inner
        elif step.queue != queue:
            kept.append(step)
    return tuple(kept)


def _without_a_hold(steps: _Program) -> list[_Program]:
    """Leave out a suspend with a later resume: one may not make sense without the other."""
    pairs = [
        (i, j)
        for i, j in itertools.combinations(range(len(steps)), 2)
        if (steps[i].does, steps[j].does) == ("suspend", "resume")
        and steps[i].queue == steps[j].queue
    ]
    return [tuple(s for k, s in enumerate(steps) if k not in pair) for pair in pairs]


def _with_an_earlier_hold(steps: _Program) -> list[_Program]:
    """Suspend a queue as soon as it exists: then one request is enough for work that waits."""
    found = []
    for i, step in enumerate(steps[:-1]):
        made = [k for k in range(i) if steps[k].does == "create" and steps[k].queue == step.queue]
        if step.does == "suspend" and made and made[0] + 1 < i:
            at = made[0] + 1
            found.append((*steps[:at], step, *steps[at:i], *steps[i + 1 :]))
    return [moved for moved in found if moved != steps]  # the second of two suspends


def _without_steps(count: int) -> Callable[[_Program], list[_Program]]:
    """Leave out `count` neighbours before the last step, which is the one that breaks the rule.

    An attempt that breaks a rule takes a second and a fresh process. Many steps at once come
    first.
    """

    def simpler(steps: _Program) -> list[_Program]:
        return [steps[:i] + steps[i + count :] for i in range(len(steps) - count)]

    return simpler


def _plain(steps: _Program) -> _Program:
    return tuple(
        Step(does=step.does, queue=step.queue, device=step.device, steps=step.steps)
        for step in steps
    )


def _with_plain_steps(steps: _Program) -> list[_Program]:
    return [_plain(steps)] if _plain(steps) != steps else []


def _with_a_plain_step(steps: _Program) -> list[_Program]:
    # One request is simpler than a load.
    does = ["submit" if step.does == "load" else step.does for step in steps]
    plain = [
        Step(does=what, queue=step.queue, device=step.device, steps=step.steps)
        for what, step in zip(does, steps, strict=True)
    ]
    loads = [Step(does=s.does, queue=s.queue) if s.does == "load" else s for s in steps]
    return [
        (*steps[:i], simple[i], *steps[i + 1 :])
        for simple in (plain, loads)
        for i in range(len(steps))
        if simple[i] != steps[i]
    ]

"""Which settings hold for a call of a test: those of the call, then of the marker, then of options.

A call is one of `Session.run` and the other methods that measure or open queues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from pytest_xsched.base.constants import DEVICES, GPUS, SCHEDULERS, split_device
from pytest_xsched.base.policies import POLICIES
from pytest_xsched.base.units import DurationLike, format_duration
from pytest_xsched.base.validation import device_name, integer, one_of
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.session.arguments import require_policy
from pytest_xsched.session.auto_device import NO_GPU
from pytest_xsched.session.duration import chosen_duration_ns
from pytest_xsched.session.machines import Machines
from pytest_xsched.session.mechanism import Mechanism, SchedulerLike, mechanism_of
from pytest_xsched.session.settings import Settings


class Chosen(NamedTuple):
    """Settings of a run that a marker can set."""

    scheduler: str
    policy: str
    duration: int
    device: str
    seed: int
    host: str | None


class CallSettings:
    """Chooses the settings of each call.

    Args:
        settings: of the session.
        machines: of the session.
        read_overrides: returns the settings of the marker in effect.
        read_origin: returns the node id of the test that is running.
    """

    def __init__(
        self,
        settings: Settings,
        machines: Machines,
        read_overrides: Callable[[], Mapping[str, Any]],
        read_origin: Callable[[], str],
    ) -> None:
        self.settings = settings
        self._machines = machines
        self._read_overrides = read_overrides
        self._read_origin = read_origin

    @property
    def overrides(self) -> Mapping[str, Any]:
        """The settings of the marker of the test that is running."""
        return self._read_overrides()

    @property
    def seed(self) -> int:
        """The seed of arrivals and inputs that calls without one have."""
        if "seed" not in self.overrides:
            return self.settings.seed
        return integer("marker xsched: seed", self.overrides["seed"], 0, 2**32 - 1)

    def host(self, given: str | None = None) -> str | None:
        """Return the host that measures; None: this machine."""
        return self._machines.choose(given, self.overrides)

    def device(self, host: str | None) -> str:
        """Return the name of the device there: its kind, and after a colon an index above 0.

        Fails the test where --xsched-require-device names another one.
        """
        asked = self._asked_device
        name = self._machines.get(host).auto_device() if asked == "auto" else asked
        kind, index = split_device(name)
        required = self.settings.require_device
        if required not in (None, kind, f"{kind}:{index}", name):
            is_fallback = self.fell_back(host) and split_device(str(required))[0] in GPUS
            origin = self.settings.require_origin
            other = "" if origin.startswith("--") else f"--xsched-require-device={kind}"
            advice = f"; {other} requires that one instead" if other else ""
            why = f" (auto), because {NO_GPU}" if is_fallback else ""
            pytest.fail(
                f"{origin}={required}, but the device is {name}{why}{advice}",
                pytrace=False,
            )
        return name

    @property
    def _asked_device(self) -> str:
        if "device" not in self.overrides:
            return self.settings.device
        known = ("auto", *DEVICES)
        return device_name("marker xsched: device", self.overrides["device"], known)

    def fell_back(self, host: str | None) -> bool:
        """Check whether ``auto`` took the processor, because there is no GPU."""
        return self._asked_device == "auto" and self._machines.get(host).auto_device() == "cpu"

    def mechanism(self, given: SchedulerLike | None) -> Mechanism:
        """Return what schedules a run, and its settings."""
        if given is None:
            given = self.of_marker("scheduler", SCHEDULERS) or self.settings.scheduler
        return mechanism_of(given)

    def of_marker(self, key: str, known: tuple[str, ...]) -> str | None:
        """Return what the marker names, one of some words; None: it names nothing."""
        if key not in self.overrides:
            return None
        value = self.overrides[key]
        one_of(f"marker xsched: {key}", value, known)
        return str(value)

    def chosen(
        self,
        scheduler: SchedulerLike | None,
        policy: str | None,
        duration: DurationLike | None,
        seed: int | None,
        queues: Sequence[QueueSpec],
        host: str | None,
    ) -> Chosen:
        """Return the settings that a marker can set, from what the call names; None: nothing."""
        host = self.host(host)
        name = self.mechanism(scheduler).name
        if policy is None:
            policy = self.of_marker("policy", POLICIES)
        if policy is None:
            policy = "hpf" if name == "builtin" else "none"
        require_policy(policy)
        return Chosen(
            scheduler=name,
            policy=policy,
            duration=chosen_duration_ns(self.settings, self.overrides, duration, queues),
            device=self.device(host),
            seed=self.seed if seed is None else seed,
            host=host,
        )

    def marker_check(self, chosen: Callable[[], Chosen]) -> Callable[[], None]:
        """Return a check that the test which is running has the settings of the one that measured.

        Tests may share a run. It is measured once, with the marker of the test that came first.

        Args:
            chosen: returns the settings of the run under the marker in effect.
        """
        overrides, origin, settings = self.overrides, self._read_origin(), chosen()

        def check() -> None:
            __tracebackhide__ = True
            if self.overrides == overrides:
                return
            now = chosen()
            other = [
                f"{name} {_setting_text(name, there)}, not {_setting_text(name, here)}"
                for name, there, here in zip(settings._fields, settings, now, strict=True)
                if there != here
            ]
            if other:
                raise ScenarioError(
                    f"{self._read_origin()} has {_marker_text(self.overrides)}, but its run was "
                    f"measured for {origin} with {_marker_text(overrides)}: "
                    f"{' and '.join(other)}. Tests that share a run need one marker: put it on "
                    "the module or the class, or measure another run for this test"
                )

        return check


def _marker_text(overrides: Mapping[str, object]) -> str:
    """Return the marker of a test as it is written."""
    values = ", ".join(f"{key}={value!r}" for key, value in overrides.items())
    return f"@pytest.mark.xsched({values})" if overrides else "no marker xsched"


def _setting_text(name: str, value: Any) -> str:
    """Return the value of a setting that a marker can set, a duration in units."""
    return format_duration(value) if name == "duration" else repr(value)

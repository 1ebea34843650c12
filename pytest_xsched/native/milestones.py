"""Named moments within the requests of a queue, such as the tokens of an answer: arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.constants import MILESTONE_NAME as NAME_PATTERN
from pytest_xsched.base.constants import MILESTONE_NAMES_MAX as NAMES_MAX

__all__ = ["NAMES_MAX", "NAME_PATTERN", "Milestones", "no_milestones"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestones:
    """The milestones of a queue, in the order in which they were reported.

    Those of one request are in order of time.

    Attributes:
        names: of the milestones.
        request: int64[n], the request of each: its index in the samples of the queue.
        name: int64[n], the name of each: its index in `names`.
        at_ns: int64[n], when each was reached, ns since the start of the run.
    """

    names: tuple[str, ...]
    request: NDArray[np.int64]
    name: NDArray[np.int64]
    at_ns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.at_ns)

    def to_arrays(self) -> list[NDArray[np.int64]]:
        """Return all but the names as arrays, for a file; `from_arrays` reads them back."""
        return [self.request, self.name, self.at_ns]

    @classmethod
    def from_arrays(cls, names: Sequence[str], arrays: Sequence[NDArray[np.int64]]) -> Milestones:
        """Return the milestones that `to_arrays` has written."""
        request, name, at_ns = arrays
        return cls(names=tuple(names), request=request, name=name, at_ns=at_ns)

    @classmethod
    def from_matrix(cls, names: Sequence[str], at_ns: NDArray[np.int64]) -> Milestones:
        """Return the milestones of requests that have the same ones.

        Args:
            names: of the milestones of a request, in their order.
            at_ns: int64[requests, names], when each was reached; -1: it was not.
        """
        each = tuple(dict.fromkeys(names))
        ids = np.array([each.index(name) for name in names], np.int64)
        request, which = np.nonzero(at_ns >= 0)
        return cls(
            names=each,
            request=request.astype(np.int64),
            name=ids[which],
            at_ns=at_ns[request, which],
        )

    def followed_by(self, later: Milestones, requests: int, offset_ns: int) -> Milestones:
        """Return these milestones and those of a later window.

        Args:
            later: with requests and times of its own window.
            requests: count of the samples before that window.
            offset_ns: when that window's run started, ns since the start of this run.
        """
        names = tuple(dict.fromkeys((*self.names, *later.names)))
        ids = np.array([names.index(name) for name in later.names], np.int64)
        return Milestones(
            names=names,
            request=np.concatenate([self.request, later.request + requests]),
            name=np.concatenate([self.name, ids[later.name] if len(later) else later.name]),
            at_ns=np.concatenate([self.at_ns, later.at_ns + offset_ns]),
        )


def no_milestones(names: Sequence[str] = ()) -> Milestones:
    """Return the milestones of a queue that reached none."""
    none = np.empty(0, np.int64)
    return Milestones(names=tuple(names), request=none, name=none, at_ns=none)

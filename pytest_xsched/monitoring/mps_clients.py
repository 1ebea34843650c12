"""Which processes of a run were clients of NVIDIA's MPS: the evidence that it was in effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class MpsClients:
    """What the control daemon answered about its servers and their clients.

    Attributes:
        servers: ids of the server processes.
        queues: by name of a queue, ids of its processes that were clients.
    """

    servers: tuple[int, ...]
    queues: dict[str, tuple[int, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {
            "servers": list(self.servers),
            "queues": {name: list(clients) for name, clients in self.queues.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MpsClients:
        """Return what `to_dict` has written."""
        queues = {name: tuple(clients) for name, clients in data["queues"].items()}
        return cls(servers=tuple(data["servers"]), queues=queues)

    def added_to(self, before: MpsClients | None) -> MpsClients:
        """Return it with what an earlier window showed."""
        if before is None:
            return self
        return MpsClients(
            servers=_both(before.servers, self.servers),
            queues={
                name: _both(before.queues.get(name, ()), clients)
                for name, clients in self.queues.items()
            },
        )


def bypass_fault(owner: str, processes: Iterable[int], answer: Mapping[int, frozenset[int]]) -> str:
    """Return a sentence for processes that were to be clients; "" if one of them is.

    Args:
        owner: whose processes they are: "queue 'low'".
        processes: their ids.
        answer: the clients of each server, as the daemon listed them.
    """
    own = set(processes)
    clients = set().union(*answer.values()) if answer else set()
    if own & clients:
        return ""
    listed = ", ".join(map(str, sorted(clients))) or "none"
    who = ", ".join(map(str, sorted(own))) or "none that runs"
    plural = "es" if len(own) > 1 else ""
    return (
        f"{owner} bypassed MPS: its process{plural} ({who}) are not among the clients of the run's "
        f"MPS server ({listed})"
    )


def _both(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({*first, *second}))

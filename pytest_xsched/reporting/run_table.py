"""A run as people read it: a table, what speaks against it, JUnit properties.

Works on `Run.to_dict` and nothing else, because under xdist that is all there is.
"""

from __future__ import annotations

import re
from typing import Any

from pytest_xsched.base.terminal_text import quoted
from pytest_xsched.base.units import format_duration, format_rate
from pytest_xsched.reporting.policy_hints import level_hints, policy_hints
from pytest_xsched.reporting.table_layout import fitted, percent

Record = dict[str, Any]
"""One run in JSON's types."""

_OR_EAGER = " or of the eager requests"
_COLUMNS = ("queue", "prio", "workload", "n", "P50", "P99", "max", "rate", "commands", "suspended")


def title(run: Record) -> str:
    """Return one line that names what was run."""
    devices = device_title(run)
    s = run["scenario"]
    scheduler = s["scheduler"] + _policy(s)
    how = ", separate processes" if s["processes"] == "separate" else ""
    return f"{scheduler} on {devices}, {_length(run)}, seed {s['seed']}{how}"


def _policy(scenario: Record) -> str:
    xsched = scenario["xsched"]
    if xsched is not None:
        build = f", of {xsched['home']}" if xsched.get("home") else ""
        return f" ({xsched['policy']}, {xsched['scheduler']}, level {xsched['level']}{build})"
    if (mps := scenario.get("mps")) is not None:
        return _mps_settings(mps)
    return f" ({scenario['policy']})" if scenario["scheduler"] == "builtin" else ""


def _mps_settings(mps: Record) -> str:
    parts = [f"{name} {share:g}%" for name, share in mps["active_thread_percentage"]]
    parts += [f"{name} below normal" for name, priority in mps["priority"] if priority]
    return f" ({', '.join(parts)})" if parts else ""


def device_title(run: Record) -> str:
    """Name the devices of a run, and the host on which they are."""
    devices = " and ".join(_device(device) for device in run["fingerprint"]["devices"])
    host = run.get("host")  # absent in old records
    return devices if host is None else f"{devices} of {host}"


def _length(run: Record) -> str:
    """Describe how long was measured, and of how much that was allowed to be."""
    measured_ns, most_ns = run["measured_ns"], run["scenario"]["duration_ns"]
    of_most = f" of {format_duration(most_ns)}" if measured_ns != most_ns else ""
    return format_duration(measured_ns) + of_most


def _device(facts: Record) -> str:
    """Name a device, and of a GPU which it is and what drives it."""
    driver = facts["kernel_driver_version"] or facts["driver_version"]
    name = facts["kind"] + (f":{facts['index']}" if facts["index"] else "")
    if driver is None:
        return str(name)
    parts = (facts["name"], facts["architecture"], f"driver {driver}")
    return f"{name} ({', '.join(part for part in parts if part)})"


def table(run: Record, columns: int | None = None) -> list[str]:
    """Return the run as lines: title, one row a queue, what speaks against it.

    Args:
        run: what `Run.to_dict` returned.
        columns: of the terminal; None: lines are as long as they are.
    """
    inner = None if columns is None else columns - 2
    lines = fitted(rows_with_latencies(run), left=("queue", "workload"), keys=1, columns=inner)
    return [title(run), *(f"  {line}" for line in [*lines, *remarks(run)])]


def rows(run: Record) -> list[tuple[str, ...]]:
    """Return the table of a run as cells: the heads of its columns, then a row a queue."""
    specs = {spec["name"]: spec for spec in run["scenario"]["queues"]}
    return [_COLUMNS, *(_row(run, queue, specs[queue["name"]]) for queue in run["queues"])]


def rows_with_latencies(run: Record) -> list[tuple[str, ...]]:
    """Return the table of a run as `rows` does, with the latencies of a queue after its row."""
    head, *of_queues = rows(run)
    table = [head]
    for row, queue in zip(of_queues, run["queues"], strict=True):
        table.append(row)
        table += [_latency_row(one) for one in latencies(queue)]
    return table


def latencies(queue: Record) -> list[Record]:
    """Return the latencies of a queue to milestones, each with a name as in `run.chat.token`."""
    # Absent in old records.
    found = queue.get("latencies", ())
    return [{**one, "name": f"{queue['name']}.{one['name']}"} for one in found]


def remarks(run: Record) -> list[str]:
    """Return the remarks on a run; those that question its figures begin with !."""
    lines = []
    evidence = run["evidence"]
    uncontended = evidence.get("uncontended", {})  # absent in old records
    for faults in (evidence["faults"], *evidence["queue_faults"].values()):
        lines += [f"! {fault}" for fault in faults]
    hints = [*policy_hints(run["scenario"]), *level_hints(run["scenario"])]
    lines += [f"! {sentence}" for sentence in hints]
    if evidence["priority_effect"] == "no":
        lines.append("! stream priorities have no effect on this device")
    # Absent in old records.
    lines += [f"! unknown: {what}" for what in run["fingerprint"].get("unknown", ())]
    if run["remark"]:
        lines.append(f"! {run['remark']}")
    if evidence["results_checked"] and not evidence["faults"]:
        models = run["fingerprint"].get("models")  # absent in old records
        lines.append(f"all results equal those of numpy{_OR_EAGER if models else ''}")
    if evidence["xsched"] is not None and not evidence["faults"]:
        lines += _activity(evidence["xsched"])
    if (mps := evidence.get("mps")) is not None and not evidence["faults"]:
        lines.append(_clients(mps))
    lines += [f"! {sentence}" for sentence in evidence["results_not_checked"]]
    lines += map(_captured, run["fingerprint"].get("models", ()))
    lines += [
        _met(met) + _ahead(run, met)
        for met in evidence["contention"]
        if met["queue"] not in uncontended
    ]
    lines += [f"! {one['sentence']}" for one in evidence.get("inversions", ())]
    for queue in run["queues"]:
        if ratio := queue.get("cold_start"):
            lines.append(
                f"! the first tenth of {queue['name']}'s requests took {ratio:.3g} times as long "
                "as the rest: the warm-up may be too short"
            )
    for queue in run["queues"]:
        lines += [_stage(queue["name"], stage) for stage in queue.get("stages", ())]
    lines += _failures(run)
    if (noise := evidence.get("noise")) is not None:
        lines += _noise(noise)
    return lines


def _stage(queue: str, stage: Record) -> str:
    """Describe one stage of a load."""
    name = repr(stage["name"]) if stage["name"] else stage["index"]
    length = format_duration(stage["end_ns"] - stage["start_ns"])
    n = f"n = {stage['n']}" + (f", {stage['censored']} unfinished" if stage["censored"] else "")
    figures = ", ".join(
        f"{title} {_time(stage[f'{key}_ns'], stage['n'])}"
        for title, key in (("P50", "p50"), ("P99", "p99"), ("max", "max"))
    )
    return f"{queue} in stage {name} ({length} at {stage['rates']}): {n}, {figures}"


def _captured(model: Record) -> str:
    """Describe the graph of a request of a model, and how its results compare."""
    plural = "s" if model["commands"] != 1 else ""
    steady = ""
    if warm_ups := model.get("warm_ups"):  # absent in old records
        steady = f", the same after {warm_ups[-2]} and {warm_ups[-1]} warm-up requests"
    return (
        f"{model['queue']}: {model['kernels']} kernels in {model['commands']} command{plural} "
        f"({model['framework']}){steady}, results {model['outputs']}"
    )


def _noise(noise: Record) -> list[str]:
    """Describe how late the machine made us, apart from any latency, and what was done about it."""
    lines = [f"harness: {noise['seen'] or 'noise was not measured'}"]
    noisy = f"{format_duration(noise['noisy_ns'])} of {format_duration(noise['measured_ns'])}"
    if noise["noisy_ns"] and noise["mode"] == "mask":
        lines.append(f"masked {noisy}: {noise['cause']}")
    elif noise["noisy_ns"]:
        share = percent(noise["noisy_ns"] / noise["measured_ns"])
        lines[0] += f"; noisy {share} of the time (limit {format_duration(noise['limit_ns'])})"
    if (gpu := noise["gpu"]) is not None:
        lines += [f"GPU: {gpu['said']}"] if gpu["said"] else []
        lines += [f"! {sentence}" for sentence in gpu.get("unknown", ())]  # absent in old records
        if noise["mode"] != "mask":
            lines += [f"! {who} computed on the GPU, too" for who in gpu["strangers"]]
    return lines


def _activity(shown: Record) -> list[str]:
    """Describe how XSched was seen to be in effect, and which programs it scheduled."""
    commands = sum(done for _, done in shown["commands"].values())
    order = ", ".join(percent(share) for share in shown["order"])
    order = f"hints were followed in {order} of pairs" if order else "no hints order two queues"
    counted = f", all {commands} commands went through it" if shown["commands"] else ""
    covers = shown.get("covers", {})  # records that were kept may lack it
    return [
        f"XSched: {shown['said']!r}, {order}{counted}",
        *(_cover(name, cover) for name, cover in covers.items()),
    ]


def _clients(mps: Record) -> str:
    """Describe how MPS was seen to be in effect."""
    queues = (f"{name} ({', '.join(map(str, ids))})" for name, ids in mps["queues"].items())
    servers = ", ".join(map(str, mps["servers"]))
    return f"MPS: all processes were clients of server {servers}: {', '.join(queues)}"


def _cover(name: str, cover: Record | None) -> str:
    if cover is None:
        return f"! unknown whether XSched had work of {name}: only its server reports that"
    if cover["ever"] and not cover["looks"]:
        return f"XSched had work of {name}, but no poll lay within one of its requests"
    mark = "! " if cover["little"] else ""
    few = "" if cover["ever"] or cover["tells"] else ": too few to decide"
    return f"{mark}XSched had work of {name} at {cover['said']}{few}"


def _met(met: Record) -> str:
    if met["work"] == 0:
        return f"! {met['other']} had no work during any of {met['queue']}'s requests"
    return (
        f"{met['other']} had work during {percent(met['work'])} of {met['queue']}'s requests, and "
        f"commands in flight during {percent(met['in_flight'])}"
    )


def _ahead(run: Record, met: Record) -> str:
    """Describe the most commands that were in flight, which no scheduler can take back."""
    alone = {one["queue"]: one["command_ns"] for one in run["evidence"].get("plausible", ())}
    command_ns = alone.get(met["other"])
    if run["scenario"]["scheduler"] != "builtin" or command_ns is None or met["work"] == 0:
        return ""
    (most,) = (q["most_in_flight"] for q in run["queues"] if q["name"] == met["other"])
    plural = "s" if most != 1 else ""
    return f" (at most {most} command{plural}, {format_duration(most * command_ns)} of work)"


def _latency_row(latency: Record) -> tuple[str, ...]:
    never = f" ({latency['censored']} never)" if latency["censored"] else ""
    return (
        latency["name"],
        *("", ""),
        f"{latency['n']}{never}",
        *(_time(latency[f"{key}_ns"], latency["n"]) for key in ("p50", "p99", "max")),
        *("", "", ""),
    )


def _row(run: Record, queue: Record, spec: Record) -> tuple[str, ...]:
    rate = format_rate(queue["throughput_hz"])
    if queue["offered_hz"] is not None:
        rate += f" of {format_rate(queue['offered_hz'])}"
    failed = min(_failed(run, queue["name"]), queue["censored"])
    kinds = {"failed": failed, "unfinished": queue["censored"] - failed}
    lost = ", ".join(f"{count} {word}" for word, count in kinds.items() if count)
    n = f"{queue['n']} ({lost})" if lost else str(queue["n"])
    return (
        queue["name"] + (f" ({spec['device']})" if spec["device"] else ""),
        str(spec["priority"]),
        queue["workload"],
        n,
        *(_time(queue[f"{key}_ns"], queue["n"]) for key in ("p50", "p99", "max")),
        rate,
        "-" if _is_program(spec["workload"]) else str(queue["commands"]["completed"]),
        str(queue["suspended"]),
    )


def _failed(run: Record, queue: str) -> int:
    """Return how many requests of a queue failed in the measured windows."""
    # Absent in old records.
    found = run["evidence"].get("failures", {}).get(queue, ())
    return sum(one["count"] for one in found)


def _failures(run: Record) -> list[str]:
    """Describe why requests failed, and which began late because of a limit of their program."""
    lines = []
    for queue, found in run["evidence"].get("failures", {}).items():
        first, *others = found
        more = f", and {len(others)} other reasons" if len(others) > 1 else ""
        if len(others) == 1:
            more = f", and {_times(others[0])}"
        count = _failed(run, queue)
        what = f"{count} request{'s' if count != 1 else ''} of {queue}"
        lines.append(f"! {what} failed: {_times(first)}{more}")
    for queue, count in run["evidence"].get("held", {}).items():
        was = "requests of {} were" if count > 1 else "request of {} was"
        due = f"{was.format(queue)} due while as many as {_allows(run, queue)}"
        lines.append(f"{count} {due} were in flight; the latency counts from then")
    return lines


def _allows(run: Record, name: str) -> str:
    """Return what limits the requests of a queue that are in flight."""
    for queue in run["scenario"]["queues"]:
        endpoint = queue["workload"].get("endpoint")
        if queue["name"] == name and endpoint is not None:
            return f"in_flight={endpoint['in_flight']} allows"
    return "its program allows"


def _times(failure: Record) -> str:
    count = failure["count"]
    return f"{count} time{'s' if count != 1 else ''} {quoted(failure['reason'])}"


def _is_program(workload: Record) -> bool:
    """Check whether a program does its requests, whose commands are not counted."""
    model = workload.get("model")  # absent in old records
    if workload["program"] is not None or workload.get("endpoint") is not None:
        return True
    return model is not None and model["mode"] == "eager"


def _time(ns: int | None, n: int) -> str:
    if ns is None:
        return "never" if n else "-"
    return format_duration(ns)


def advice(verdicts: list[Record]) -> list[str]:
    """Describe which targets are worth less than they seem."""
    rules = {(judged(verdict), verdict["rule"]) for verdict in verdicts}
    return [
        f"{queue}: P99/P50 also improves when P50 gets worse; assert a limit of P50 as well"
        for queue, rule in sorted(rules)
        if rule == "P99/P50 below" and (queue, "P50 below") not in rules
    ]


def properties(verdict: Record) -> list[tuple[str, str | int | float]]:
    """Return a verdict as JUnit properties: builtin types only, or xdist would lose the test."""
    start = property_name(verdict)
    value = "never" if verdict["value"] is None else verdict["value"]
    return [
        (f"{start}.status", verdict["status"]),
        (f"{start}.value", value),
        (f"{start}.limit", verdict["limit"]),
        (f"{start}.unit", verdict["unit"] or "1"),
        (f"{start}.n", verdict["n"]),
    ]


def property_name(verdict: Record) -> str:
    """Return the start of the names of a verdict's JUnit properties."""
    part = verdict.get("part", "")  # absent in old records
    rule = re.sub(r"[^a-z0-9.]+", "_", f"{part} {verdict['rule']}".lower()).strip("_")
    return f"xsched.{judged(verdict)}.{rule}"


def judged(verdict: Record) -> str:
    """Return the name of what was judged: a queue, or a latency as in `run.chat.first_token`."""
    latency = verdict.get("latency")  # absent in old records
    return f"{verdict['queue']}.{latency}" if latency else str(verdict["queue"] or "scheduler")

"""The rows of the machines of a session."""

from __future__ import annotations

from pytest_xsched.analysis.comparability import differences, machine_part
from pytest_xsched.reporting.github_summary import page
from pytest_xsched.reporting.host_table import host_lines


def record(host, *statuses, refused=0):
    """A run in JSON's types, as far as the table reads it."""
    return {
        "host": host,
        "device_name": "H200" if host else "CPU",
        "verdicts": [{"status": status} for status in statuses],
        "refused": [{}] * refused,
    }


def test_a_row_for_each_machine_also_for_one_that_measured_nothing():
    comparison = {**record("b", "PASS"), "baseline": "native", "arms": {"native": [record("b")]}}
    records = [record("a", "PASS", "FAIL"), comparison, record(None, "UNDECIDED", refused=2)]
    assert host_lines(records, ("a", "b", "c")) == [
        "4 machines",
        "  host  device  runs  PASS  FAIL  UNDECIDED  NO VERDICT",
        "  a     H200       1     1     1          0           0",
        "  b     H200       1     1     0          0           0",
        "  c     -       none     0     0          0           0",
        "  here  CPU        1     0     0          1           2",
    ]


def test_the_page_of_a_job_begins_with_it(high):
    run = {**high._run.to_dict(), "host": "gpu7"}
    start = page([run, {**run, "host": None}])[:8]
    assert start[:4] == ["## pytest-xsched", "", "```", "2 machines"]
    assert [line.split()[0] for line in start[4:]] == ["host", "gpu7", "here", "```"]
    assert "2 machines" not in page([run])


def test_one_machine_has_no_table():
    assert host_lines([record("a"), record("a")]) == []
    assert host_lines([record(None)]) == []


def test_a_baseline_of_one_host_is_none_of_another(high):
    run = high._run.to_dict()
    first, second = ({**run, "host": host} for host in ("a", "b"))
    (difference,) = differences(first, second)
    assert str(difference) == 'host.name: "a" against "b"' and machine_part(difference.field)
    assert differences(first, first) == []

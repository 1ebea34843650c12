"""The command `pytest-xsched`: doctor, conformance, compare, record and report run no tests.

Exit codes:
    0: everything holds.
    1: a finding: a check failed, a claim does not hold, or B is worse than A.
    2: wrong usage, or input that cannot be read.
    3: it cannot be done here: a device or an optional package is missing, or the runs differ in
       more than their scheduler.
    8: nothing is shown to be wrong, but not everything was compared or checked.
    130: interrupted with Ctrl-C.
"""

from __future__ import annotations

import argparse
import enum
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pytest_xsched.base.constants import DEVICES, visible_devices
from pytest_xsched.base.extras import require_extra
from pytest_xsched.base.paths import expand_path
from pytest_xsched.errors import ScenarioError, XSchedError

PROGRAM = "pytest-xsched"


class ExitCode(enum.IntEnum):
    """The exit codes of `pytest-xsched`; pytest itself keeps its own."""

    OK = 0
    FINDING = 1
    USAGE = 2
    UNAVAILABLE = 3
    UNDECIDED = 8
    INTERRUPTED = 130


_EXIT_CODES = """\
exit codes:
  0    everything holds
  1    a finding: a check failed, a claim does not hold, or B is worse than A
  2    wrong usage, or input that cannot be read
  3    it cannot be done here: a device or an optional package is missing,
       or the runs differ in more than their scheduler
  8    nothing is shown to be wrong, but not everything was compared or checked
  130  interrupted with Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the name of the program; None: those of the process.

    Returns:
        One of `ExitCode`.

    Raises:
        SystemExit: for ``--help``, ``--version`` and wrong usage.
    """
    options = _parser().parse_args(arguments)
    try:
        code: ExitCode = options.command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe ended first: `pytest-xsched doctor | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FINDING
    except ScenarioError as error:
        return _complain(str(error), ExitCode.USAGE)
    except (XSchedError, OSError) as error:
        return _complain(str(error), ExitCode.UNAVAILABLE)
    return code


def _complain(sentence: str, code: ExitCode) -> ExitCode:
    print(f"{PROGRAM}: {sentence.removeprefix('scheduler inactive: ')}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """Reports wrong usage in one sentence, without the usage lines."""

    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM,
        description="Check XSched, scheduling policies and measured runs, without running tests.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    doctor = _add_command(commands, "doctor", "Find out why XSched seems to have no effect here.")
    _add_place(doctor)
    _add_libraries(doctor)
    doctor.set_defaults(command=_doctor)

    conformance = _add_command(
        commands,
        "conformance",
        "Check scheduling policies in random scenarios. The policies of pytest-xsched run on the "
        "simulator; those of XSched run on a GPU if --home or XSCHED_HOME says where it is. So do "
        "the programs of the part 'processes', which show what XSched's shim does to processes.",
    )
    conformance.add_argument(
        "policies", metavar="POLICY", nargs="*", help="or 'processes'; default: all"
    )
    _add_place(conformance)
    _add_libraries(conformance)
    conformance.add_argument(
        "--budget",
        metavar="TIME",
        default="2min",
        help="time for random scenarios, of all policies together (default: 2min)",
    )
    conformance.add_argument(
        "--corpus",
        metavar="DIR",
        help="where scenarios that fail are saved (default: .xsched/conformance)",
    )
    conformance.add_argument(
        "--seed", metavar="N", help="seed of the random scenarios, or 'random' (default: 0)"
    )
    conformance.add_argument(
        "-x", "--exitfirst", action="store_true", help="end at the first broken rule"
    )
    conformance.set_defaults(command=_conformance)

    compare = _add_command(
        commands,
        "compare",
        "Compare two builds, two baselines or two files of `pytest --xsched-json=FILE`. Two names "
        "of the ini key xsched_builds are measured alternately: pytest runs the tests, with the "
        "arguments that follow. Of two names of baselines, the stored runs are compared. Of two "
        "files, runs of the same scenario "
        "are compared, in the order in which they were made. B is worse if a P99 is more than "
        "10 % higher, or the throughput of a closed loop more than 10 % lower, and at least 6 "
        "pairs of runs show it; or if a queue is saturated or completes nothing in B only. What "
        "is not compared or not decided ends with exit code 8.",
    )
    compare.add_argument("a", metavar="A", help="a build, a baseline, or a file: the reference")
    compare.add_argument("b", metavar="B", help="what may be worse than A")
    rest = compare.add_argument(
        "arguments",
        metavar="ARGUMENTS",
        nargs=argparse.REMAINDER,
        help="of pytest, if A and B are builds",
    )
    rest.required = False  # or argparse says that they are missing where B is
    compare.set_defaults(command=_compare)

    record = _add_command(
        commands,
        "record",
        "Record the profile of a model on a GPU. The times of its commands, alone on the device, "
        "are written to a JSON file, and recorded(FILE) is a workload of these times on any "
        "device, also in virtual time.",
    )
    record.add_argument(
        "model",
        metavar="MODEL",
        help="the function that builds it: path/file.py:function or package.module:function",
    )
    record.add_argument(
        "--stream",
        action="store_true",
        help="its requests take a stream, as those of graph() do; without it, it is of PyTorch",
    )
    record.add_argument(
        "-o", "--output", metavar="FILE", help="file to write (default: FUNCTION.json)"
    )
    record.add_argument(
        "--arguments",
        metavar="JSON",
        help="keyword arguments of the function, as a JSON object: '{\"batch\": 8}'",
    )
    record.add_argument("--requests", metavar="N", help="how many requests are timed (default: 30)")
    record.add_argument("--device", metavar="NAME", help="hip or cuda, with an index: cuda:1")
    _add_libraries(record)
    record.set_defaults(command=_record)

    report = _add_command(
        commands,
        "report",
        "Make one HTML page of the files of `pytest --xsched-json=FILE`. If the files are of "
        "several machines, each machine has a row of a table. A FILE may also be what "
        "`pytest-xsched conformance` wrote as JSON; the page then has its findings.",
        json=False,
    )
    report.add_argument("files", metavar="FILE", nargs="+", help="a file of --xsched-json")
    report.add_argument(
        "-o", "--output", metavar="PAGE", required=True, help="the page, such as page.html"
    )
    report.set_defaults(command=_report)
    return parser


def _add_command(
    commands: argparse._SubParsersAction[_Parser], name: str, text: str, *, json: bool = True
) -> _Parser:
    parser = commands.add_parser(
        name,
        help=text.partition(". ")[0].rstrip("."),
        description=textwrap.fill(text, 78),
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if json:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", metavar="NAME", help="hip, cuda or opencl, with an index: cuda:1"
    )
    parser.add_argument("--home", metavar="DIR", help="where XSched is installed")


def _add_libraries(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gpu-driver", metavar="PATH", help="the GPU's driver library")
    parser.add_argument("--gpu-compiler", metavar="PATH", help="the GPU's compiler library")


def _version() -> str:
    from importlib.metadata import version

    return version("pytest-xsched")


def _folder_of(origin: str) -> Path:
    """Return the directory to which the paths of options are relative."""
    return Path.cwd()


def _doctor(options: argparse.Namespace) -> ExitCode:
    from pytest_xsched.doctor.checks import examine
    from pytest_xsched.session.settings import device_of, home_of, library_of

    device = device_of((options.device, "--device"), ("auto", *DEVICES)) or "auto"
    diagnosis = examine(
        device,
        home=home_of((options.home, "--home"), _folder_of),
        driver=library_of("driver", (options.gpu_driver, "--gpu-driver"), _folder_of),
        compiler=library_of("compiler", (options.gpu_compiler, "--gpu-compiler"), _folder_of),
        environment={**os.environ, **visible_devices(device)},
    )
    diagnosis.print("json" if options.json else "text")
    return ExitCode.FINDING if diagnosis.exit_status else ExitCode.OK


def _conformance(options: argparse.Namespace) -> ExitCode:
    require_extra("hypothesis", "hypothesis")
    from pytest_xsched.conformance.command import ConformanceRequest, conform
    from pytest_xsched.session.settings import (
        Settings,
        device_of,
        folder_at,
        home_of,
        library_of,
        noise_of,
        seed_of,
        time_ns,
    )

    settings = Settings(
        device=device_of((options.device, "--device"), ("auto", *DEVICES)) or "auto",
        seed=seed_of(options.seed, "--seed"),
        noise=noise_of((None, "")),
        xsched_home=home_of((options.home, "--home"), _folder_of),
        gpu_driver=library_of("driver", (options.gpu_driver, "--gpu-driver"), _folder_of),
        gpu_compiler=library_of("compiler", (options.gpu_compiler, "--gpu-compiler"), _folder_of),
    )
    corpus = folder_at((options.corpus, "--corpus"), _folder_of)
    request = ConformanceRequest(
        form="json" if options.json else "text",
        names=tuple(options.policies),
        budget_ns=time_ns(options.budget, "--budget") or 0,
        exit_first=options.exitfirst,
    )
    done = conform(settings, request, corpus or Path.cwd() / ".xsched" / "conformance", _print_now)
    if any(found.failed for found in done):
        return ExitCode.FINDING
    return ExitCode.UNDECIDED if any(found.too_few for found in done) else ExitCode.OK


def _print_now(line: str) -> None:
    print(line, flush=True)


def _compare(options: argparse.Namespace) -> ExitCode:
    words = [word for word in options.arguments if word != "--json"]
    is_json = options.json or len(words) < len(options.arguments)
    if not (_is_file(options.a) or _is_file(options.b)):
        from pytest_xsched.plugin.compare_names import compare_names

        if is_json:
            raise ScenarioError(
                "compare: --json is for two files; of builds, --xsched-json=FILE writes all"
            )
        return ExitCode(compare_names(options.a, options.b, words))
    if words:
        raise ScenarioError(
            f"compare: {options.a} and {options.b} are files, so nothing is measured; leave "
            f"{' '.join(words)!r} out"
        )
    from pytest_xsched.cli.compare import compare_files

    a, b = (Path(expand_path(text, "compare")) for text in (options.a, options.b))
    result = compare_files(a, b)
    print(result.to_json() if is_json else "\n".join(result.lines()))
    if result.worse:
        return ExitCode.FINDING
    if result.nothing_compared:
        return ExitCode.UNAVAILABLE
    return ExitCode.UNDECIDED if result.undecided else ExitCode.OK


def _is_file(text: str) -> bool:
    return text.endswith(".json") or os.sep in text or Path(text).is_file()


def _record(options: argparse.Namespace) -> ExitCode:
    from pytest_xsched.cli.record import RecordRequest, describe, record
    from pytest_xsched.session.settings import device_of, library_of

    device = device_of((options.device, "--device"), ("auto", *DEVICES)) or "auto"
    request = RecordRequest(
        factory=options.model,
        framework="stream" if options.stream else "torch",
        arguments=options.arguments,
        output=options.output,
        requests=options.requests,
        device=device,
        driver=library_of("driver", (options.gpu_driver, "--gpu-driver"), _folder_of),
        compiler=library_of("compiler", (options.gpu_compiler, "--gpu-compiler"), _folder_of),
    )
    path, profile = record(request, lambda phrase: print(f"{PROGRAM}: {phrase}", file=sys.stderr))
    print(json.dumps(profile.to_dict()) if options.json else describe(path, profile))
    return ExitCode.OK


def _report(options: argparse.Namespace) -> ExitCode:
    require_extra("jinja2", "html")
    from pytest_xsched.cli.report import make_page

    print(make_page(options.files, options.output))
    return ExitCode.OK

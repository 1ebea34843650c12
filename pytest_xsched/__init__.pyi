"""The public names of pytest-xsched, each with the module that defines it: said here, once."""

from pytest_xsched.analysis.explanation import Explanation as Explanation
from pytest_xsched.analysis.latency_target import (
    LatencyTarget as LatencyTarget,
)
from pytest_xsched.analysis.latency_target import (
    attainment_at_least as attainment_at_least,
)
from pytest_xsched.analysis.latency_target import (
    p95_below as p95_below,
)
from pytest_xsched.analysis.latency_target import (
    p99_below as p99_below,
)
from pytest_xsched.analysis.latency_target import (
    p999_below as p999_below,
)
from pytest_xsched.analysis.latency_target import (
    percentile_below as percentile_below,
)
from pytest_xsched.analysis.measured_queue import MeasuredQueue as MeasuredQueue
from pytest_xsched.analysis.run import Run as Run
from pytest_xsched.analysis.verdict import Verdict as Verdict
from pytest_xsched.base.quantity import Quantity as Quantity
from pytest_xsched.base.units import (
    Duration as Duration,
)
from pytest_xsched.base.units import (
    Rate as Rate,
)
from pytest_xsched.base.units import (
    minutes as minutes,
)
from pytest_xsched.base.units import (
    ms as ms,
)
from pytest_xsched.base.units import (
    ns as ns,
)
from pytest_xsched.base.units import (
    per_min as per_min,
)
from pytest_xsched.base.units import (
    per_s as per_s,
)
from pytest_xsched.base.units import (
    s as s,
)
from pytest_xsched.base.units import (
    us as us,
)
from pytest_xsched.comparison.comparison import (
    ComparedQueue as ComparedQueue,
)
from pytest_xsched.comparison.comparison import (
    Comparison as Comparison,
)
from pytest_xsched.comparison.existing_runs import compare_runs as compare_runs
from pytest_xsched.errors import (
    DeviceBusy as DeviceBusy,
)
from pytest_xsched.errors import (
    DeviceError as DeviceError,
)
from pytest_xsched.errors import (
    DeviceUnavailable as DeviceUnavailable,
)
from pytest_xsched.errors import (
    ForkedError as ForkedError,
)
from pytest_xsched.errors import (
    HostError as HostError,
)
from pytest_xsched.errors import (
    IncomparableError as IncomparableError,
)
from pytest_xsched.errors import (
    InvalidRun as InvalidRun,
)
from pytest_xsched.errors import (
    MissingExtra as MissingExtra,
)
from pytest_xsched.errors import (
    NotBuilt as NotBuilt,
)
from pytest_xsched.errors import (
    QosAssertionError as QosAssertionError,
)
from pytest_xsched.errors import (
    QueueTimeout as QueueTimeout,
)
from pytest_xsched.errors import (
    ScenarioError as ScenarioError,
)
from pytest_xsched.errors import (
    SchedulerInactive as SchedulerInactive,
)
from pytest_xsched.errors import (
    TargetMissed as TargetMissed,
)
from pytest_xsched.errors import (
    TargetUndecided as TargetUndecided,
)
from pytest_xsched.errors import (
    WorkerCrashed as WorkerCrashed,
)
from pytest_xsched.errors import (
    WorkerHung as WorkerHung,
)
from pytest_xsched.errors import (
    XSchedError as XSchedError,
)
from pytest_xsched.errors import (
    XSchedWarning as XSchedWarning,
)
from pytest_xsched.runner.live_queues import (
    Ticket as Ticket,
)
from pytest_xsched.runner.live_queues import (
    XQueue as XQueue,
)
from pytest_xsched.runner.live_queues import (
    XQueues as XQueues,
)
from pytest_xsched.scenario.arrival_process import (
    bursts as bursts,
)
from pytest_xsched.scenario.arrival_process import (
    closed as closed,
)
from pytest_xsched.scenario.arrival_process import (
    constant as constant,
)
from pytest_xsched.scenario.arrival_process import (
    gamma as gamma,
)
from pytest_xsched.scenario.arrival_process import (
    poisson as poisson,
)
from pytest_xsched.scenario.arrival_process import (
    replay as replay,
)
from pytest_xsched.scenario.builds import Build as Build
from pytest_xsched.scenario.device_models import (
    CpuModel as CpuModel,
)
from pytest_xsched.scenario.device_models import (
    SimModel as SimModel,
)
from pytest_xsched.scenario.endpoints import (
    endpoint as endpoint,
)
from pytest_xsched.scenario.endpoints import (
    kserve as kserve,
)
from pytest_xsched.scenario.endpoints import (
    openai_chat as openai_chat,
)
from pytest_xsched.scenario.endpoints import (
    openai_completions as openai_completions,
)
from pytest_xsched.scenario.endpoints import (
    own_client as own_client,
)
from pytest_xsched.scenario.kernels import (
    buffer as buffer,
)
from pytest_xsched.scenario.kernels import (
    float32 as float32,
)
from pytest_xsched.scenario.kernels import (
    int32 as int32,
)
from pytest_xsched.scenario.kernels import (
    int64 as int64,
)
from pytest_xsched.scenario.model_traces import trace as trace
from pytest_xsched.scenario.mps_settings import MPS as MPS
from pytest_xsched.scenario.profile import (
    Profile as Profile,
)
from pytest_xsched.scenario.profile import (
    recorded as recorded,
)
from pytest_xsched.scenario.queue_spec import QueueSpec as QueueSpec
from pytest_xsched.scenario.scenario import Scenario as Scenario
from pytest_xsched.scenario.servers import (
    server as server,
)
from pytest_xsched.scenario.stages import stages as stages
from pytest_xsched.scenario.timed_changes import (
    Change as Change,
)
from pytest_xsched.scenario.timed_changes import (
    at as at,
)
from pytest_xsched.scenario.trace_files import trace_file as trace_file
from pytest_xsched.scenario.workload import (
    Workload as Workload,
)
from pytest_xsched.scenario.workload import (
    command as command,
)
from pytest_xsched.scenario.workload import (
    empty as empty,
)
from pytest_xsched.scenario.workload import (
    graph as graph,
)
from pytest_xsched.scenario.workload import (
    kernel as kernel,
)
from pytest_xsched.scenario.workload import (
    matmul as matmul,
)
from pytest_xsched.scenario.workload import (
    model as model,
)
from pytest_xsched.scenario.workload import (
    sequence as sequence,
)
from pytest_xsched.scenario.workload import (
    spin as spin,
)
from pytest_xsched.scenario.workload import (
    vector_add as vector_add,
)
from pytest_xsched.scenario.xsched_settings import XSched as XSched
from pytest_xsched.session.session import Session as Session
from pytest_xsched.stress.highest_rate import HighestRate as HighestRate

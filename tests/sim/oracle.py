"""The samples of a run in virtual time, by brute force: time advances in ticks, and at each tick
the model checks everything, again and again until nothing happens any more.

Written from ARCHITECTURE.md and the docstring of `SimModel`, not from the C code. Everything must
happen on a tick; fixed thresholds; policies none, hpf and edf.
"""

from __future__ import annotations

from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.arrival_times import arrival_times

TICK_NS = 100_000
NEVER = 10**18


class Stream:
    """In order: a launch reaches the device, waits for a slot, keeps it, is done."""

    def __init__(self, priority):
        self.priority = priority
        self.launches = []  # [reaches the device at, cost, number among all]
        self.started = self.done = 0
        self.ended = 0  # when the last of the done ones was

    def waiting(self, now):
        """The launch that could take a slot."""
        in_slot = self.started > self.done
        if in_slot or self.started == len(self.launches):
            return None
        head = self.launches[self.started]
        return head if head[0] <= now else None


class Device:
    def __init__(self, model):
        self.model = model
        self.streams = []
        self.ends = {}  # stream -> when its command ends
        self.slots = {}  # stream -> when its command leaves its slot
        self.launched = 0

    def launch(self, stream, cost, now):
        before = stream.launches[-1][0] if stream.launches else 0
        stream.launches.append([max(now, before) + self.model.launch_ns, cost, self.launched])
        self.launched += 1

    def advance(self, now):
        """End, then begin; whether anything did."""
        ended = [stream for stream, end in self.ends.items() if end <= now]
        for stream in ended:
            stream.done += 1
            stream.ended = now
            del self.ends[stream]
        self.slots = {stream: end for stream, end in self.slots.items() if end > now}
        begun = 0
        while len(self.slots) < self.model.slots:
            heads = [(s.waiting(now), s) for s in self.streams if s.waiting(now)]
            if not heads:
                break

            def rank(pair):
                (arrives, _, number), stream = pair
                since = max(arrives, stream.ended) if self.model.interleave else arrives
                return (-stream.priority if self.model.priority else 0, since, number)

            (_, cost, _), stream = min(heads, key=rank)
            stream.started += 1
            self.ends[stream] = now + cost
            self.slots[stream] = now + max(0, cost - self.model.tail_ns)
            begun += 1
        return bool(ended or begun)


class Queue:
    def __init__(self, scenario, spec, device):
        self.spec = spec
        self.costs = [scenario.sim.cost_ns(command) for command in spec.workload.commands]
        self.threshold, self.batch = spec.depth
        self.device = device
        self.stream = Stream(scenario.stream_priority_of(spec, -255, 255))
        device.streams.append(self.stream)
        self.closed = isinstance(spec.arrivals, Closed)
        self.closing = self.finished = False
        if not self.closed:
            self.arrivals = arrival_times(
                spec.arrivals,
                warmup_ns=scenario.warmup_ns,
                duration_ns=scenario.duration_ns,
                seed=scenario.seed,
                name=scenario.first_queue_of(spec).name,
            ).tolist()
        self.source = None  # the queue whose request n must be complete before request n starts
        self.requests = []  # [scheduled, submitted, launched, completed]
        self.launched = self.completed = self.finished_requests = 0
        self.marks = []  # after this many launches
        self.suspended = False

    @property
    def submitted(self):
        return len(self.requests) * len(self.costs)

    @property
    def busy(self):
        return not self.finished and self.completed < self.submitted

    def due(self):
        n = len(self.requests)
        if not self.closed:
            if n == len(self.arrivals) or (self.source and self.source.finished_requests <= n):
                return NEVER
            return self.arrivals[n]
        if self.closing:
            return NEVER
        clients = self.spec.arrivals.concurrency
        if n < clients:
            return 0
        before = self.requests[n - clients][3]
        return before + self.spec.arrivals.think_ns if before >= 0 else NEVER

    def see_marks(self, now):
        moved = False
        while self.marks and self.stream.done >= self.marks[0]:
            self.completed = self.marks.pop(0)
            moved = True
        while (self.finished_requests + 1) * len(self.costs) <= self.completed:
            self.requests[self.finished_requests][3] = now
            self.finished_requests += 1
        return moved

    def launch(self, now):
        launched = False
        while (
            not self.suspended
            and not self.finished
            and self.launched < self.submitted
            and self.launched - self.completed < self.threshold
        ):
            request, index = divmod(self.launched, len(self.costs))
            if index == 0:
                self.requests[request][2] = now
            self.device.launch(self.stream, self.costs[index], now)
            self.launched += 1
            last_mark = self.marks[-1] if self.marks else self.last_mark
            if index + 1 == len(self.costs) or self.launched - last_mark >= self.batch:
                self.mark()
            launched = True
        return launched

    last_mark = 0

    def mark(self):
        """Behind everything that was launched."""
        self.marks.append(self.launched)
        self.last_mark = self.launched


def suspend(policy, queues):
    ready = [queue for queue in queues if queue.busy]

    def due(queue):
        oldest = queue.requests[queue.finished_requests][0]
        return NEVER if queue.spec.deadline_ns is None else oldest + queue.spec.deadline_ns

    for queue in queues:
        if policy == "none" or not ready:
            queue.suspended = False
        elif policy == "hpf":
            queue.suspended = queue.spec.priority < max(r.spec.priority for r in ready)
        else:
            first = min(map(due, ready))
            queue.suspended = queue not in ready or due(queue) > first


def expected(scenario):
    """Return the samples by queue: scheduled, submitted, launched, completed ns of each request.

    For scenarios all of whose requests are completed before the drain ends.
    """
    device = Device(scenario.sim)
    queues = [Queue(scenario, spec, device) for spec in scenario.queues]
    for queue in queues:
        queue.source = next((q for q in queues if q.spec.name == queue.spec.after), None)
    window_end = scenario.warmup_ns + scenario.duration_ns
    now = 0
    while not all(queue.finished for queue in queues):
        happened = True
        while happened:
            happened = device.advance(now)
            for queue in queues:
                # A suspended queue marks the last that it launched.
                if queue.suspended and queue.launched > queue.last_mark:
                    queue.mark()
                happened |= queue.see_marks(now)
            open_left = any(not queue.closed and not queue.finished for queue in queues)
            for queue in queues:
                if queue.closed and now >= window_end and not open_left:
                    queue.closing = True
                while queue.due() <= now:
                    queue.requests.append([queue.due(), now, -1, -1])
                    happened = True
            for queue in queues:
                at_end = (
                    queue.closing if queue.closed else len(queue.requests) == len(queue.arrivals)
                )
                if at_end and not queue.busy and not queue.finished:
                    queue.finished = happened = True
            suspend(scenario.policy, queues)
            for queue in queues:
                happened |= queue.launch(now)
        now += TICK_NS
        # The run has ended by then. A shallow queue next to deep closed loops may need all of it.
        assert now <= window_end + scenario.drain_ns, "not finished when the drain ends"
    return {queue.spec.name: [tuple(request) for request in queue.requests] for queue in queues}

"""`find_rate` in virtual time: the rate at which a target begins to fail."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from pytest_xsched import (
    MPS,
    InvalidRun,
    QosAssertionError,
    ScenarioError,
    Session,
    SimModel,
    TargetMissed,
    TargetUndecided,
    XSchedWarning,
    attainment_at_least,
    command,
    endpoint,
    matmul,
    openai_chat,
    p95_below,
    p99_below,
    percentile_below,
    poisson,
    sequence,
    spin,
)
from pytest_xsched.reporting import rate_table
from pytest_xsched.session.call_settings import Chosen
from pytest_xsched.session.device_pool import DevicePool
from pytest_xsched.session.mechanism import Mechanism
from pytest_xsched.session.rate_finding import RateRequest, at_rate
from pytest_xsched.session.run_planning import scenario_maker
from pytest_xsched.session.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
WORD = sequence([spin("2ms"), spin("3ms")], milestone=["word", None], label="word")
ANSWER = sequence([spin("2ms"), spin("3ms")], milestone="token", label="answer")
BARE = SimModel(priority=False, launch_ns=0)


def five_ms(sim, rate="50/s", **load):
    """Each request takes 5 ms, so that 200 of them fit into a second."""
    return sim.queue("chat", spin("5ms"), **(load or {"rate": rate}))


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("of_rates", ROOT / "bench" / "find_rate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def found(sim):
    """A queue with equal distances alone: up to 200/s nothing waits, from there on it saturates."""
    return sim.find_rate(
        [five_ms(sim)], queue="chat", target=p99_below("6ms"), scheduler="native", sim=BARE
    )


def test_the_bounds_lie_around_the_rate_at_which_the_queue_saturates(found):
    assert found.lower.value <= 200 < found.upper.value <= 1.05 * found.lower.value
    assert found.lower < "201/s" and found.upper > "199/s"
    by_rate = {point.rate_hz: point for point in found.curve if point.rate_hz <= 200}
    assert {point.value_ns for point in by_rate.values()} == {5_000_000}
    assert all(point.status != "PASS" for point in found.curve if point.saturated)
    shown = {row[1] for row in rate_table.rows(found.to_dict())}
    assert "saturated" in shown and not [one for one in shown if one.startswith(",")]


def test_what_is_asserted_of_it(found):
    found.assert_sustains("180/s")
    with pytest.raises(TargetMissed, match=r"^chat: does not sustain 300/s: P99 below 6 ms was "):
        found.assert_sustains("300/s")
    between = (found.lower.value + found.upper.value) / 2
    with pytest.raises(TargetUndecided, match=r"^chat: may or may not sustain .* hold at .* fail"):
        found.assert_sustains(f"{between}/s")
    assert [verdict.status for verdict in found.verdicts] == ["PASS", "FAIL", "UNDECIDED"]
    assert {verdict.rule for verdict in found.verdicts} == {"sustained rate at least"}
    found.undecided = "warn"
    with pytest.warns(XSchedWarning, match="UNDECIDED: chat: may or may not sustain"):
        found.assert_sustains(f"{between}/s")
    # A bound itself is on its side.
    found.assert_sustains(f"{found.lower.value}/s")
    with pytest.raises(TargetMissed):
        found.assert_sustains(f"{found.upper.value}/s")


def test_equal_searches_are_equal_to_the_byte(sim):
    texts = set()
    for _ in range(2):
        sim.budget.begin_test()
        found = sim.find_rate(
            [five_ms(sim, arrivals=poisson("50/s")), sim.queue("low", spin("2ms"))],
            queue="chat",
            target=p95_below("20ms"),
            scheduler="builtin",
            budget="60s",
            seed=3,
        )
        texts.add(json.dumps(found.to_dict(), sort_keys=True))
    assert len(texts) == 1


def test_a_hopeless_target_ends_the_search_and_says_whether_it_holds_alone(sim):
    chat = five_ms(sim, "20/s")
    hog = sim.queue("hog", spin("100ms"))
    beside = sim.find_rate([chat, hog], queue="chat", target=p99_below("50ms"), scheduler="native")
    with pytest.raises(QosAssertionError, match=r"fail at 3\.987/s .*; alone chat holds there$"):
        beside.assert_sustains("10/s")
    alone = sim.find_rate([chat, hog], queue="chat", target=p99_below("4ms"), scheduler="native")
    with pytest.raises(QosAssertionError, match=r"; chat fails alone, too$"):
        alone.assert_sustains("10/s")
    assert beside.hopeless and alone.hopeless and beside.lower is None
    assert beside.measured_ns < 300 * 10**9  # of 600 s


def test_a_search_spends_the_error_of_one_assertion(sim, found):
    """Whatever is asserted of it afterwards: all are statements about the same bounds."""
    assert found.request.alpha == pytest.approx(sim.budget.alpha / 10 / 2)
    found.assert_sustains("100/s")
    found.assert_sustains("150/s")
    assert sim.budget.next_alpha() == pytest.approx(sim.budget.alpha / 10 / 6)
    assert sim.runs == []  # the report shows the search, and not each of its runs


def test_a_deadline_is_kept_by_a_latency_that_is_equal_to_it(sim):
    """5 ms each, exactly."""
    options = {"queue": "chat", "scheduler": "native", "sim": BARE, "highest": "100/s"}
    within = sim.find_rate(
        [five_ms(sim)], target=attainment_at_least("5ms", "99%"), budget="120s", **options
    )
    within.assert_sustains("100/s")
    assert within.upper is None
    below = sim.find_rate([five_ms(sim)], target=p99_below("5ms"), budget="120s", **options)
    assert below.hopeless


def test_a_run_at_a_high_rate_is_no_longer_than_its_requests_fit(sim):
    """What is left of 60 s has 15 million requests at the highest rate; a run may have 10."""
    found = sim.find_rate(
        [sim.queue("chat", spin("1us"), rate="100/s")],
        queue="chat",
        target=p95_below("6ms"),
        highest="300000/s",
        budget="60s",
        scheduler="native",
        sim=BARE,
    )
    found.assert_sustains("300000/s")


def test_targets_are_values():
    assert str(percentile_below(0.9, "50ms")) == "P90 below 50 ms"
    assert str(attainment_at_least("50ms", "99%")) == "99 % within 50 ms"
    assert p99_below("50ms") == percentile_below(0.99, "50ms") != p95_below("50ms")


def test_a_target_counts_the_misses_that_a_run_counts(sim):
    chat = five_ms(sim, arrivals=poisson("120/s"))
    run = sim.run(chat, duration="30s", scheduler="native", sim=BARE)
    for target, assertion in (
        (p99_below("8ms"), lambda: run.chat.assert_p99_below("8ms")),
        (
            attainment_at_least("5ms", "90%"),
            lambda: run.chat.assert_attainment_at_least("5ms", 0.9),
        ),
    ):
        with pytest.raises(QosAssertionError):
            assertion()
        decision = run.verdicts[-1].decision
        assert decision.misses == int(target.missed(run.chat).sum()) > 0
        assert decision.allowed == target.allowed


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"queues": "chat"}, r"queues 'chat' are no list; write find_rate\(\[chat, low\], "),
        ({"queue": "low"}, "queue of find_rate: 'low' is none of the queues; they are chat"),
        ({"target": "300ms"}, r'target of find_rate: .300ms. is not a target; write p99_below\("5'),
        (
            {"lowest": "90/s", "highest": "80/s"},
            r"^find_rate\(\): lowest='90/s' is not below highest='80/s'$",
        ),
        (
            {"highest": "20/s", "budget": "1min"},
            r"^find_rate\(\): the lowest rate that a budget of 60 s can judge, 39\.87/s, is not "
            "below highest='20/s'; lowest= names a lower one$",
        ),
        (
            {"highest": "20/s", "budget": "30s"},
            r"^find_rate\(\): the rate of chat, 50/s, is not below highest='20/s'; lowest= names a "
            "lower one$",
        ),
        (
            {"lowest": "1000000/s"},
            r"^find_rate\(\): lowest='1000000/s' is not below the highest that a budget of 600 s "
            "can measure, .*/s; highest= names a higher one$",
        ),
        ({"budget": 5}, '^budget of find_rate: 5 has no unit; write "5s" or "5min"$'),
        ({"budget": "soon"}, "^budget of find_rate: 'soon' "),
        ({"budget": None}, "^budget of find_rate: None "),
        ({"within": 1.0}, 'within of find_rate: 1 lets .*; write "5%" or 0.05'),
        ({"lowest": 5}, "lowest of find_rate"),
    ],
)
def test_wrong_arguments_have_one_sentence(sim, change, sentence):
    values = {"queues": [five_ms(sim)], "queue": "chat", "target": p99_below("6ms"), **change}
    with pytest.raises(ScenarioError, match=sentence):
        sim.find_rate(**values)


def test_a_queue_in_the_place_of_the_list_is_named_and_not_spelled_out(sim):
    with pytest.raises(ScenarioError, match=r"queues is the queue 'chat', not a list; write find_"):
        sim.find_rate(five_ms(sim), queue="chat", target=p99_below("6ms"))


@pytest.mark.parametrize(
    ("more", "rate", "way_out"),
    [
        (
            {"budget": "1min"},
            "10/s",
            "below 39.87/s may be tried in 60 s; a budget= of at least 240 s can judge 10/s",
        ),
        (
            {"lowest": "45/s"},
            "10/s",
            "below 45/s may be tried; lowest= names a lower limit",
        ),
        (
            {"highest": "80/s"},
            "90/s",
            "above 80/s may be tried; highest= names a higher limit",
        ),
    ],
)
def test_a_rate_that_was_not_tried_is_answered_with_what_limits_the_search(
    sim, more, rate, way_out
):
    """A budget that was too short was answered with `lowest=`, which the test had never named."""
    target = p99_below("4ms") if rate == "10/s" else p99_below("6ms")
    values = {"queue": "chat", "target": target, "scheduler": "native", "sim": BARE}
    found = sim.find_rate([five_ms(sim)], **values, **more)
    with pytest.raises(TargetUndecided) as raised:
        found.assert_sustains(rate)
    assert str(raised.value).endswith(f"; no rate {way_out}")


def test_the_budget_is_named_as_it_was_set():
    session = Session(Settings(device="sim", duration="1min"))
    values = {"queue": "chat", "target": p99_below("4ms"), "scheduler": "native", "sim": BARE}
    found = session.find_rate([five_ms(session)], **values)
    with pytest.raises(TargetUndecided) as raised:
        found.assert_sustains("10/s")
    assert str(raised.value).endswith(
        "in 1min; a --xsched-duration of at least 240 s can judge 10/s"
    )
    idle = session.queue("low", spin("1ms"), rate="1/min")
    with pytest.raises(ScenarioError, match="while one rate is measured, with --xsched-duration=1"):
        session.find_rate([five_ms(session), idle], **values)
    with pytest.raises(ScenarioError, match="budget of find_rate: 5 has no unit"):
        session.find_rate([five_ms(session)], **values, budget=5)
    session.close()


def test_a_hopeless_queue_is_measured_alone_without_the_mps_settings_of_others():
    """They named queues that the run alone does not have, and that ended the search."""
    session = Session(Settings(device="cuda"))
    chat, low = five_ms(session), session.queue("low", spin("5ms"))
    request = RateRequest([chat, low], "chat", p99_below("6ms"), None, None, "5%", 10**11, None)
    settings = MPS(active_thread_percentage={"low": 50, "chat": 80})
    chosen = Chosen("mps", "none", 10**11, "cuda", 0, None)
    mechanism = Mechanism("mps", None, settings)
    describe = scenario_maker(chosen, mechanism, session.settings, "together", None, None)
    mix, alone = (at_rate(request, describe, 20.0, 10**10, alone) for alone in (False, True))
    assert mix.mps == settings and [queue.name for queue in mix.queues] == ["chat", "low"]
    assert alone.mps == MPS(active_thread_percentage={"chat": 80})
    assert [queue.name for queue in alone.queues] == ["chat"]
    assert alone.warmup_ns == mix.warmup_ns and alone.seed == mix.seed


@pytest.mark.parametrize("load", [{"concurrency": 2}, {}])
def test_a_closed_loop_has_no_rate_to_vary(sim, load):
    queue = sim.queue("chat", matmul(64), **load)
    with pytest.raises(ScenarioError, match="'chat' has no rate that could be varied; write rate="):
        sim.find_rate([queue], queue="chat", target=p99_below("6ms"))


def test_a_queue_that_hardly_has_a_request_is_no_part_of_a_mix(sim):
    idle = sim.queue("low", spin("1ms"), rate="1/min")
    with pytest.raises(ScenarioError, match=r"0\.01667/s of low is hardly a request while"):
        sim.find_rate([five_ms(sim), idle], queue="chat", target=p99_below("6ms"), budget="20s")


def test_a_mix_without_any_evidence_raises(sim):
    """The other queue never has work next to chat, whose latencies so say nothing of a mix."""
    idle = sim.queue("idle", spin("1us"), rate="1/s")
    with pytest.raises(InvalidRun, match=r"no verdict: ."):
        sim.find_rate(
            [five_ms(sim), idle],
            queue="chat",
            target=p99_below("6ms"),
            budget="20s",
            scheduler="native",
        )


def test_it_finds_what_brute_force_finds_in_a_quarter_of_its_time(sim, bench):
    """As bench/find_rate.py does with 20 random mixes; here one, and fewer requests."""
    chat = sim.queue("chat", spin("5ms"), priority=1, arrivals=poisson("100/s"), threshold=1)
    low = sim.queue("low", spin("2ms"), rate="20/s")
    mix = bench.Mix((chat, low), p99_below("25ms"), "builtin")
    truth_hz, seconds = bench.brute_force(sim, mix, coarse=2000, fine=20_000, reach=1.5)
    found = sim.find_rate(
        mix.queues,
        queue="chat",
        target=mix.target,
        budget=f"{int(seconds / 4)}s",
        scheduler=mix.scheduler,
    )
    assert found.measured_ns <= seconds / 4 * 1e9
    assert found.rate.value == pytest.approx(truth_hz, rel=0.03)
    assert found.lower.value <= truth_hz <= found.upper.value


def test_a_target_may_be_about_a_milestone_of_the_requests(sim):
    """The first token comes after 2 ms, the answer after 5 ms; from 200/s on both wait."""
    queues = [sim.queue("chat", ANSWER, rate="50/s")]
    first = p99_below("3ms", latency="first_token")
    found = sim.find_rate(queues, queue="chat", target=first, scheduler="native", sim=BARE)
    assert str(first) == "P99 of first_token below 3 ms"
    assert found.lower.value <= 200 < found.upper.value <= 1.05 * found.lower.value
    assert {point.value_ns for point in found.curve if point.rate_hz <= 200} == {2_000_000}
    answers = sim.find_rate(
        queues, queue="chat", target=p99_below("3ms"), scheduler="native", sim=BARE
    )
    assert answers.lower is None and answers.hopeless
    assert found.to_dict()["target"]["latency"] == "first_token"


@pytest.mark.parametrize(
    ("workload", "latency", "known"),
    [
        (spin("5ms"), "first_word", "none"),
        (WORD, "per_word", "word"),
        (WORD, "first_token", "word"),
        (ANSWER, "tokens", "first_token, per_token, between_tokens"),
        (endpoint("http://127.0.0.1:9"), "first_token", "none"),
        (
            openai_chat("http://127.0.0.1:9", model="small", messages=[{"role": "user"}]),
            "token_1",
            "first_token, per_token, between_tokens",
        ),
    ],
)
def test_a_latency_that_requests_do_not_have_is_refused_before_any_is_measured(
    monkeypatch, workload, latency, known
):
    """The search measured at a first rate before it looked which latencies there are."""
    measured = []
    monkeypatch.setattr(DevicePool, "measure", lambda *_, **__: measured.append(1))
    session = Session(Settings(device="cpu" if workload.endpoint else "sim"))
    chat = session.queue("chat", workload, rate="50/s")
    with pytest.raises(ScenarioError) as raised:
        session.find_rate(
            [chat],
            queue="chat",
            target=p99_below("3ms", latency=latency),
            scheduler="native",
            sim=BARE,
        )
    assert measured == []
    assert str(raised.value) == (
        f"target of find_rate: chat has no latency {latency!r}; those to milestones: {known}; "
        "without latency= the target is of the completion"
    )


def test_a_latency_of_a_program_is_known_when_it_has_run(monkeypatch):
    """Its requests may have any; the one that is measured says which."""
    measured = []

    def measure(pool, scenario, *_, **__):
        measured.append(scenario)
        raise InvalidRun("enough")

    monkeypatch.setattr(DevicePool, "measure", measure)
    session = Session(Settings(device="cpu"))
    chat = session.queue("chat", command(["python", "serve.py"]), rate="50/s")
    target = p99_below("3ms", latency="first_word")
    with pytest.raises(InvalidRun, match="enough"):
        session.find_rate([chat], queue="chat", target=target, scheduler="native")
    assert len(measured) == 1


def test_a_latency_has_a_name():
    with pytest.raises(ScenarioError, match="is no name of a latency"):
        p99_below("3ms", latency=3)


def test_a_hopeless_queue_without_others_is_not_measured_again_alone(sim):
    found = sim.find_rate(
        [five_ms(sim)], queue="chat", target=p99_below("4ms"), scheduler="native", sim=BARE
    )
    assert found.hopeless and [point.alone for point in found.curve] == [False] * len(found.curve)

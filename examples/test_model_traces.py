"""A request shaped like a real model: a decode step of a language model next to training.

`trace` draws hundreds of commands from published profiles, equal for equal seeds.
"""

import pytest

from pytest_xsched import trace


@pytest.fixture(scope="module")
def run(xsched):
    decode = xsched.queue("decode", trace("decode", seed=1), priority=10, rate="20/s")
    train = xsched.queue("train", trace("train", seed=1), priority=1)
    return xsched.run(decode, train, duration="60s")


def test_decode_is_fast(run):
    run.decode.assert_p99_below("30ms")


def test_training_goes_on(run):
    run.train.assert_throughput_at_least("1/s")

"""The latencies of a queue as the rounds of pytest-benchmark's fixture, for its tables and files.

Needs: pip install 'pytest-xsched[benchmark]'
"""

from pytest_xsched import spin


def test_publish(xsched, benchmark):
    high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s")
    low = xsched.queue("low", spin("5ms", layers=4), priority=1)
    xsched.run(high, low, duration="20s").high.publish(benchmark)
    assert benchmark.stats.stats.max < 0.015  # seconds

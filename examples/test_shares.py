"""Two tenants with a share each: the policy `partition` gives 75 % and 25 % of the device's time.

Both have equal work and never pause, so their throughputs show their shares.
"""

from pytest_xsched import spin


def test_shares(xsched):
    big = xsched.queue("big", spin("1ms"), utilization=75)
    small = xsched.queue("small", spin("1ms"), utilization=25)
    run = xsched.run(big, small, duration="20s", policy="partition")
    run.big.assert_throughput_at_least("700/s")  # of 1000/s that the device can do
    run.small.assert_throughput_at_least("230/s")

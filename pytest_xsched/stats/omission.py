"""The latencies that a closed loop leaves out because it sends nothing while it waits.

A closed loop that waits 10 s for one request has one late request among thousands, but a client
that came at any moment of these 10 s would have waited, too. The correction adds the requests that
the loop would have sent, one each usual interval, with the rest of the wait that each would have
had. Pure functions of numpy arrays.

Source: G. Tene, HdrHistogram, recordValueWithExpectedInterval, 2012; the term "coordinated
omission" is his.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.stats.estimators import CENSORED_NS, nearest_rank


def usual_interval_ns(latency_ns: NDArray[np.int64], think_ns: int) -> int:
    """Return the time between two requests of one client: median latency and think time, ns.

    Args:
        latency_ns: int64[n], ns, n at least 1.
        think_ns: pause of a client after each request, ns.

    Returns:
        At least 1.
    """
    median_ns = nearest_rank(latency_ns, 0.5)
    return max(1, median_ns if median_ns == CENSORED_NS else median_ns + think_ns)


def omitted(latency_ns: NDArray[np.int64], interval_ns: int) -> NDArray[np.int64]:
    """Count the requests that each request kept its client from sending.

    Args:
        latency_ns: int64[n], ns; CENSORED_NS counts as one request, since its end is not known.
        interval_ns: see `usual_interval_ns`.

    Returns:
        int64[n].
    """
    known = np.where(latency_ns == CENSORED_NS, 0, latency_ns)
    return np.asarray(np.maximum(known // interval_ns - 1, 0), np.int64)


def corrected(latency_ns: NDArray[np.int64], interval_ns: int) -> NDArray[np.int64]:
    """Return the latencies with those that were left out, each after the request that caused it.

    A request of 5 intervals stands for requests of 5, 4, 3, 2 and 1 intervals.

    Args:
        latency_ns: int64[n], ns, in order of arrival.
        interval_ns: see `usual_interval_ns`.

    Returns:
        int64[n + omitted], ns.
    """
    copies = omitted(latency_ns, interval_ns) + 1
    first = np.cumsum(copies) - copies
    number = np.arange(int(copies.sum())) - np.repeat(first, copies)
    return np.asarray(np.repeat(latency_ns, copies) - number * interval_ns, np.int64)

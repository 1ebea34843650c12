"""How many requests a second a queue can have next to others, before its target fails.

`find_rate` begins at 20/s and searches on its own; a PASS needs the scheduler.
"""

from pytest_xsched import p99_below, poisson, spin


def test_chat_sustains_60_requests_a_second_next_to_training(xsched):
    chat = xsched.queue("chat", spin("5ms"), priority=10, arrivals=poisson("20/s"))
    training = xsched.queue("training", spin("2ms", layers=20), threshold=1, batch_size=1)
    found = xsched.find_rate([chat, training], queue="chat", target=p99_below("25ms"))
    found.assert_sustains("60/s")

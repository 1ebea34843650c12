"""A program of one's own: it takes its requests from pytest-xsched and knows nothing of queues.

test_own_program.py starts it; on its own it runs for ever, as fast as it can.
"""

from pytest_xsched.client import requests

# ... load the model, then:
for _ in requests():
    sum(range(1000))  # the work of one request, until the device has done it

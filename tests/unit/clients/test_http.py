"""Requests over HTTP to a real server: each way in which an answer can be none is one reason."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_xsched import endpoint
from pytest_xsched.errors import ScenarioError

pytest.importorskip("aiohttp", reason="the extra http is not installed")


def seven(number):
    return {"number": number}


def failing(number):
    raise ValueError(f"no body {number}")


def shows_the_secret(number):
    raise ValueError(f"no body with {os.environ['MY_TOKEN']}")


def is_fine(status, body):
    return body == b"fine"


def test_each_request_is_sent_when_it_is_due_and_ends(server, send):
    window = send(endpoint(f"{server.url}/ok"), [0, 0.01, 0.02, 0.02])
    assert sorted(window.begun) == sorted(window.ended) == [0, 1, 2, 3]
    assert not window.failed
    assert not window.held
    for number, at in window.begun.items():
        assert at >= window.due[number]
        assert window.ended[number] > at
    assert [request[:2] for request in server.requests] == [("GET", "/ok")] * 4


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("status/404", "status 404"),
        ("status/429", "status 429"),
        ("status/500", "status 500"),
        ("elsewhere", "status 302"),
        ("reset", "the answer was cut off"),
        ("hangup", "the server closed the connection without an answer"),
    ],
)
def test_an_answer_that_is_no_success_is_a_failure_with_its_reason(server, send, path, reason):
    window = send(endpoint(f"{server.url}/{path}"), [0, 0.02])
    assert window.failed == {0: reason, 1: reason}
    assert not window.ended
    assert len(server.requests) == 2, "nothing is sent again, and no redirect is followed"


def test_a_connection_that_breaks_when_it_is_used_again_is_a_failure(server, send):
    # The second one waits for the first one, so that it has the same connection, however late.
    window = send(endpoint(f"{server.url}/once", in_flight=1), [0, 0.05])
    assert window.failed == {1: "the server closed the connection without an answer"}
    assert len(server.requests) == 2, "it was sent once"


def test_what_is_no_http_is_a_failure(server, send):
    assert send(endpoint(f"{server.url}/noise"), [0]).failed == {0: "the answer is not HTTP"}


@pytest.mark.parametrize("path", ["endless", "loris"])
def test_an_answer_without_an_end_fails_at_the_time_out(server, send, path):
    window = send(endpoint(f"{server.url}/{path}", timeout="200ms"), [0, 0.01])
    assert window.failed == {0: "no whole answer within 0.2 s", 1: "no whole answer within 0.2 s"}
    for number, at in window.failed_at.items():
        assert at - window.begun[number] >= 0.2


def test_where_no_server_listens_the_connection_is_refused(send):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    assert send(endpoint(url), [0]).failed == {0: "connection refused"}


def test_redirects_are_followed_where_they_are_wanted(server, send):
    assert not send(endpoint(f"{server.url}/elsewhere", redirects=True), [0]).failed


def test_no_redirect_leads_to_another_machine(server, send):
    window = send(endpoint(f"{server.url}/away", redirects=True), [0])
    assert window.failed == {0: "redirected to 192.0.2.1, which is not this machine"}


def test_other_statuses_may_be_success(server, send):
    assert not send(endpoint(f"{server.url}/status/404", success=[200, 404]), [0]).failed
    assert send(endpoint(f"{server.url}/ok", success=204), [0]).failed == {0: "status 200"}


async def is_never_awaited(status, body):
    return False


def test_a_function_that_only_begins_to_decide_is_no_success(server, send):
    """A coroutine is true, so each status would have been a success."""
    window = send(endpoint(f"{server.url}/status/500", success=is_never_awaited), [0])
    reason = "endpoint(is_never_awaited) returned a coroutine, so none of its code has run"
    assert window.failed == {0: reason}


def test_a_function_may_decide_what_is_success(server, send):
    assert not send(endpoint(f"{server.url}/status/404", success=is_fine), [0]).failed
    refused = send(endpoint(f"{server.url}/v2/models/unknown/infer", body={}, success=is_fine), [0])
    assert refused.failed == {0: "status 400, which the function success= refused"}


def test_bodies(server, send, tmp_path):
    (tmp_path / "image.bin").write_bytes(b"\x00\xff")
    url = f"{server.url}/ok"
    for body in ("text", {"a": 1}, Path(tmp_path / "image.bin"), seven, b"name:name"):
        send(endpoint(url, body=body, in_flight=1), [0, 0])  # so that they come in order
    sent = [
        (method, body, headers.get("content-type")) for method, _, headers, body in server.requests
    ]
    assert sent == [
        *([("POST", b"text", None)] * 2),
        *([("POST", b'{"a": 1}', "application/json")] * 2),
        *([("POST", b"\x00\xff", None)] * 2),
        ("POST", b'{"number": 0}', None),
        ("POST", b'{"number": 1}', None),
        *([("POST", b"name:name", None)] * 2),
    ]


def skipping(number):
    pytest.skip(f"no body {number}")


def leaving(number):
    sys.exit(f"no body {number}")


@pytest.mark.parametrize(("body", "name"), [(skipping, "Skipped"), (leaving, "SystemExit")])
def test_a_function_that_skips_or_exits_fails_its_request(server, send, body, name):
    window = send(endpoint(f"{server.url}/ok", body=body), [0, 0.01])
    assert window.failed[1].startswith(f"endpoint({body.__name__}): {name}: no body 1 (test_http")
    assert set(window.failed) == {0, 1}


def test_a_function_that_raises_fails_its_request(server, send):
    window = send(endpoint(f"{server.url}/ok", body=failing), [0, 0.01])
    assert window.failed[1].startswith("endpoint(failing): ValueError: no body 1 (test_http.py:")
    assert not server.requests


def test_headers_take_secrets_from_the_environment(server, send, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    headers = {"Authorization": "Bearer env:MY_TOKEN", "X-Plain": "yes"}
    send(endpoint(f"{server.url}/ok", headers=headers), [0])
    assert server.requests[0][2]["authorization"] == "Bearer s3cret"
    assert server.requests[0][2]["x-plain"] == "yes"


def test_the_reason_of_a_failure_shows_no_secret(server, send, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    headers = {"Authorization": "Bearer env:MY_TOKEN"}
    window = send(endpoint(f"{server.url}/ok", headers=headers, body=shows_the_secret), [0])
    assert window.failed[0].startswith("endpoint(shows_the_secret): ValueError: no body with *** (")


def test_a_secret_that_is_not_there_is_one_sentence(server, send, monkeypatch):
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with pytest.raises(
        ScenarioError, match="header X needs the variable MY_TOKEN, which is not set"
    ):
        send(endpoint(f"{server.url}/ok", headers={"X": "env:MY_TOKEN"}), [0])


def test_connections_are_used_again(server, send):
    # One at a time: a busy machine may send two together, which need two connections.
    send(endpoint(f"{server.url}/ok", in_flight=1), [0, 0.05, 0.1, 0.15])
    assert server.connections == 1


def test_a_unix_socket(new_http_server, send, tmp_path):
    made = new_http_server(path=str(tmp_path / "socket"))
    window = send(endpoint("http://localhost/ok", unix_socket=tmp_path / "socket"), [0])
    assert list(window.ended) == [0]
    assert made.requests[0][2]["host"] == "localhost"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", "key.pem", "-out", "certificate.pem", "-days", "2"]
    command += ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return folder


@pytest.fixture
def secure(new_http_server, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    return new_http_server(tls=context)


def test_tls_with_the_certificate_of_the_server(secure, certificate, send):
    window = send(endpoint(f"{secure.url}/ok", verify=certificate / "certificate.pem"), [0])
    assert list(window.ended) == [0]
    assert list(send(endpoint(f"{secure.url}/ok", verify=False), [0]).ended) == [0]


def test_a_certificate_that_is_not_trusted_is_a_failure(secure, send):
    failed = send(endpoint(f"{secure.url}/ok"), [0]).failed
    assert failed[0].startswith("the certificate is not trusted: self")


def test_a_certificate_of_another_host_is_a_failure(secure, certificate, send):
    url = f"https://localhost:{secure.port}/ok"
    failed = send(endpoint(url, verify=certificate / "certificate.pem"), [0]).failed
    assert failed[0].startswith("the certificate is not trusted: Hostname mismatch")


def test_a_file_that_is_no_certificate_is_one_sentence(certificate, send):
    with pytest.raises(ScenarioError, match=r"key.pem' holds no certificate"):
        send(endpoint("https://127.0.0.1:1/", verify=certificate / "key.pem"), [0])

"""The middlewares by the bare protocols, without a server: both answer alike, and work ends when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from leaderlock.errors import StaleToken
from leaderlock.fences import MAX_TOKEN, FenceBusy, check_refuses_stale
from leaderlock.fences.gate import Gate
from leaderlock.fences.http import AsgiFence, WsgiFence, fencing_headers, raise_for_stale


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "watermark"


@pytest.fixture
def gate(path: Path) -> Gate:
    return Gate(path, timeout=0.02)


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, object]:
        assert self.headers["Content-Type"] == "application/problem+json"
        return json.loads(self.body)


Ask = Callable[..., Response]


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


async def hello_async(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def by_wsgi(application, method: str, *tokens: str) -> Response:
    environ = {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    if tokens:
        environ["HTTP_FENCING_TOKEN"] = ",".join(tokens)
    began = []
    body = validator(application)(environ, lambda status, headers, error=None: began.append((status, headers)))
    try:
        content = b"".join(body)
    finally:
        body.close()
    [(status, headers)] = began
    return Response(int(status.split()[0]), dict(headers), content)


async def asgi_messages(application, scope, incoming=()) -> list[dict]:
    sent, left = [], list(incoming)

    async def receive():
        return left.pop(0)

    async def send(message):
        sent.append(message)

    await application(scope, receive, send)
    return sent


def http_scope(method: str, *tokens: str) -> dict:
    headers = [(b"host", b"x"), *((b"fencing-token", token.encode()) for token in tokens)]
    return {"type": "http", "asgi": {"version": "3.0"}, "method": method, "path": "/", "headers": headers}


def by_asgi(application, method: str, *tokens: str) -> Response:
    start, body = asyncio.run(asgi_messages(application, http_scope(method, *tokens)))
    assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
    assert all(name == name.lower() for name, _ in start["headers"])
    headers = {name.decode().title(): value.decode() for name, value in start["headers"]}
    return Response(start["status"], headers, body["body"])


@pytest.fixture(params=["wsgi", "asgi"])
def ask(request, path) -> Ask:
    def asking(method: str, *tokens: str, **options) -> Response:
        if request.param == "wsgi":
            return by_wsgi(WsgiFence(validator(hello), path, **options), method, *tokens)
        return by_asgi(AsgiFence(hello_async, path, **options), method, *tokens)

    return asking


# -- what both answer


def test_a_request_with_a_token_is_admitted_and_stamps(ask, gate):
    assert ask("GET", "7").body == b"hello"
    assert gate.highest == 7

    assert ask("POST", "7").status == 200
    assert ask("POST", "8").status == 200
    assert gate.highest == 8


def test_a_stale_request_is_answered_with_412_and_both_tokens(ask, gate):
    gate.stamp(8)

    answer = ask("POST", "7")

    assert answer.status == 412
    assert (answer.headers["Fencing-Token"], answer.headers["Fencing-Highest"]) == ("7", "8")
    assert answer.problem == {
        "type": "urn:leaderlock:stale-token",
        "title": "A newer leader has been here",
        "status": 412,
        "detail": "token 7 was refused, as 8 has been admitted: stop",
        "token": 7,
        "highest": 8,
    }


@pytest.mark.parametrize(
    "values",
    [
        [""],
        ["0"],
        ["-1"],
        ["+1"],
        ["007"],
        ["7.0"],
        ["7e0"],
        ["0x7"],
        ["1_0"],
        ["\u00b2"],
        ["7 8"],
        ["7, 8"],
        ["7", "7"],
        ["7", "8"],
        [str(MAX_TOKEN + 1)],
        ["9" * 5000],
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_no_token_is_answered_with_400(ask, gate, method, values):
    answer = ask(method, *values)

    assert (answer.status, answer.problem["type"]) == (400, "urn:leaderlock:token-malformed")
    assert gate.highest == 0


def test_the_greatest_token_is_admitted(ask, gate):
    assert ask("POST", str(MAX_TOKEN)).status == 200
    assert gate.highest == MAX_TOKEN


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_pass_without_a_token(ask, gate, method):
    assert ask(method).status == 200
    assert gate.highest == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
def test_other_methods_without_a_token_are_answered_with_428(ask, method):
    answer = ask(method)

    assert (answer.status, answer.problem["type"]) == (428, "urn:leaderlock:token-missing")
    assert "Fencing-Token" in answer.problem["detail"]


def test_the_methods_that_need_no_token_can_be_chosen(ask):
    assert ask("GET", without_token=()).status == 428
    assert ask("PUT", without_token=["GET", "put"]).status == 200


@pytest.mark.parametrize("methods", ["GET", [1], [None]])
def test_what_are_no_methods_is_refused_at_once(ask, methods):
    with pytest.raises(TypeError, match="without_token"):
        ask("GET", without_token=methods)


def test_a_request_that_waited_too_long_is_answered_with_503_and_when_to_come_back(ask, gate):
    with gate.admitted(1):
        answer = ask("POST", "2", timeout=0.01)

    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.problem["type"] == "urn:leaderlock:fence-busy"
    assert gate.highest == 1


def test_a_lost_watermark_is_answered_with_503_and_the_log_names_the_file(ask, gate, path, caplog):
    gate.stamp(7)
    path.write_bytes(b"")

    answer = ask("POST", "8")

    assert (answer.status, answer.problem["type"]) == (503, "urn:leaderlock:watermark-lost")
    assert "Retry-After" not in answer.headers
    assert str(path) not in answer.body.decode()
    assert f"Gate('{path}').adopt(token)" in caplog.text
    assert ask("GET").status == 200


def test_a_refused_head_has_no_body(ask, gate):
    gate.stamp(8)

    answer = ask("HEAD", "7")

    assert (answer.status, answer.body) == (412, b"")
    assert answer.headers["Fencing-Highest"] == "8"


def test_an_admitted_request_has_ended_with_its_response(ask, gate):
    ask("POST", "1")

    gate.stamp(2)


def test_the_ready_test_passes_through_the_clients_side(ask):
    def write(token: int) -> None:
        [value] = fencing_headers(token).values()
        raise_for_stale(ask("POST", value))

    check_refuses_stale(write)


def test_a_path_in_no_folder_is_refused_when_the_service_starts(tmp_path):
    for fence, application in ((WsgiFence, hello), (AsgiFence, hello_async)):
        with pytest.raises(ValueError, match="make it first"):
            fence(application, tmp_path / "missing" / "watermark")


# -- WSGI alone


def wsgi_response(application, path, token="1"):
    environ = {"REQUEST_METHOD": "POST", "HTTP_FENCING_TOKEN": token}
    setup_testing_defaults(environ)
    return WsgiFence(application, path)(environ, lambda *_: None)


def test_a_wsgi_response_is_work_until_it_is_closed_and_so_is_the_applications(path, gate):
    @dataclass
    class Body:
        closed: list[int] = field(default_factory=list)

        def __iter__(self):
            return iter([b"a", b"b"])

        def close(self):
            with pytest.raises(FenceBusy):
                gate.stamp(2)
            self.closed.append(1)

    body = Body()
    response = wsgi_response(lambda *_: body, path)
    assert list(response) == [b"a", b"b"]
    with pytest.raises(FenceBusy):
        gate.stamp(2)

    response.close()

    assert body.closed == [1]
    gate.stamp(2)


@pytest.mark.parametrize("when", ["called", "iterated", "closed", "never iterated"])
def test_a_wsgi_application_that_fails_keeps_nobody_out(path, gate, when):
    class Body:
        def __iter__(self):
            if when == "iterated":
                raise ZeroDivisionError
            yield b""

        def close(self):
            if when == "closed":
                raise ZeroDivisionError

    def application(environ, start_response):
        if when == "called":
            raise ZeroDivisionError
        return Body()

    def serve() -> None:
        response = wsgi_response(application, path)
        try:
            if when != "never iterated":
                list(response)
        finally:
            response.close()

    if when == "never iterated":
        serve()
    else:
        with pytest.raises(ZeroDivisionError):
            serve()

    gate.stamp(2)


def test_what_a_wsgi_application_refuses_on_its_own_is_its_own(path):
    def application(environ, start_response):
        raise StaleToken("another fence", token=1, highest=2)

    with pytest.raises(StaleToken, match="another fence"):
        wsgi_response(application, path)


# -- ASGI alone


@pytest.mark.parametrize("kind", ["lifespan", "of another server"])
def test_scopes_that_are_no_request_pass(path, kind):
    async def application(scope, receive, send):
        await send({"type": "seen", "scope": scope})

    scope = {"type": kind}
    [message] = asyncio.run(asgi_messages(AsgiFence(application, path), scope))

    assert message["scope"] is scope
    assert list(path.parent.iterdir()) == []


def test_an_asgi_request_is_work_until_its_coroutine_ends(path, gate):
    async def application(scope, receive, send):
        await hello_async(scope, receive, send)
        with pytest.raises(FenceBusy):
            gate.stamp(2)

    assert by_asgi(AsgiFence(application, path), "POST", "1").status == 200
    gate.stamp(2)


def test_an_asgi_application_that_fails_or_is_cancelled_keeps_nobody_out(path, gate):
    async def failing(scope, receive, send):
        raise StaleToken("another fence", token=1, highest=2)

    async def endless(scope, receive, send):
        await asyncio.Event().wait()

    async def cancelled() -> None:
        async with asyncio.timeout(0.02):
            await asgi_messages(AsgiFence(endless, path), http_scope("POST", "1"))

    with pytest.raises(StaleToken, match="another fence"):
        by_asgi(AsgiFence(failing, path), "POST", "1")
    with pytest.raises(TimeoutError):
        asyncio.run(cancelled())

    gate.stamp(2)


def websocket_scope(*tokens: str, denial: bool = False) -> dict:
    scope = {**http_scope("GET", *tokens), "type": "websocket"}
    del scope["method"]
    return {**scope, "extensions": {"websocket.http.response": {}}} if denial else scope


async def accept(scope, receive, send):
    await send({"type": "websocket.accept"})


def test_a_websocket_is_work_while_it_is_open(path, gate):
    async def application(scope, receive, send):
        await accept(scope, receive, send)
        with pytest.raises(FenceBusy):
            gate.stamp(2)

    sent = asyncio.run(asgi_messages(AsgiFence(application, path), websocket_scope("1")))

    assert sent == [{"type": "websocket.accept"}]
    gate.stamp(2)


def test_a_websocket_without_a_token_passes_as_every_get_does(path):
    assert asyncio.run(asgi_messages(AsgiFence(accept, path), websocket_scope())) == [{"type": "websocket.accept"}]

    [closed] = asyncio.run(asgi_messages(AsgiFence(accept, path, without_token=()), websocket_scope()))
    assert closed["type"] == "websocket.close"


def test_a_stale_websocket_is_refused_before_it_is_accepted(path, gate):
    gate.stamp(2)

    [closed] = asyncio.run(asgi_messages(AsgiFence(accept, path), websocket_scope("1")))
    start, body = asyncio.run(asgi_messages(AsgiFence(accept, path), websocket_scope("1", denial=True)))

    assert (closed["type"], closed["code"]) == ("websocket.close", 1008)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 412)
    assert (b"fencing-highest", b"2") in start["headers"]
    assert body["type"] == "websocket.http.response.body"

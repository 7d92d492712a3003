"""The leader's side of the HTTP fence: what it sends, and which answers stop it."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
from email.message import Message
from types import SimpleNamespace

import pytest

from leaderlock.errors import StaleToken
from leaderlock.fences import MAX_TOKEN
from leaderlock.fences.http import fencing_headers, fencing_token, raise_for_stale, stale_response

OURS = {"Fencing-Token": "7", "Fencing-Highest": "8"}


def as_message(headers: dict[str, str]) -> Message:
    message = Message()
    for name, value in headers.items():
        message[name.lower()] = value
    return message


def of_urllib(status: int, headers: dict[str, str]) -> urllib.error.HTTPError:
    answer = urllib.error.HTTPError("http://x", status, "", as_message(headers), None)
    answer.close()  # 3.14 warns of one that is not
    return answer


RESPONSES = {
    "requests, httpx": lambda status, headers: SimpleNamespace(status_code=status, headers=headers),
    "aiohttp, urllib3": lambda status, headers: SimpleNamespace(status=status, headers=headers),
    "urllib": of_urllib,
}


@pytest.fixture(params=RESPONSES)
def response(request):
    return RESPONSES[request.param]


def test_a_token_travels_in_one_header():
    assert fencing_headers(7) == {"Fencing-Token": "7"}
    assert fencing_headers(MAX_TOKEN) == {"Fencing-Token": "9007199254740991"}


@pytest.mark.parametrize(
    ("token", "error"), [("7", TypeError), (True, TypeError), (0, ValueError), (2**53, ValueError)]
)
def test_what_is_no_token_is_not_sent(token, error):
    with pytest.raises(error, match="a token is"):
        fencing_headers(token)


def test_a_fences_refusal_stops_the_leader(response):
    with pytest.raises(StaleToken, match="newer leader") as caught:
        raise_for_stale(response(412, OURS))

    assert (caught.value.token, caught.value.highest) == (7, 8)


@pytest.mark.parametrize("status", [200, 204, 304, 400, 409, 428, 500, 503])
def test_every_other_answer_is_left_alone(response, status):
    raise_for_stale(response(status, OURS))


@pytest.mark.parametrize(
    "headers",
    [{}, {"ETag": "x"}, {"Fencing-Token": "7"}, {"Fencing-Highest": "8"}, {**OURS, "Fencing-Highest": "many"}],
)
def test_anothers_412_is_left_alone(response, headers):
    raise_for_stale(response(412, headers))


@pytest.mark.parametrize("thing", [None, 412, SimpleNamespace(headers={}), SimpleNamespace(status=412)])
def test_what_is_no_response_is_refused(thing):
    with pytest.raises(TypeError, match="a response has"):
        raise_for_stale(thing)


def test_the_clients_side_needs_neither_flock_nor_asyncio():
    program = """
import sys
sys.modules["fcntl"] = None
from leaderlock.fences.http import fencing_headers, raise_for_stale
assert fencing_headers(7)
assert "asyncio" not in sys.modules
"""

    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_service_that_fences_by_itself_reads_the_token_that_a_leader_sent():
    assert fencing_token(fencing_headers(7)["Fencing-Token"]) == 7


@pytest.mark.parametrize("header", [None, "", "0", "07", "+7", "7.0", " 7", "7, 7", "٧", str(2**53), "seven"])
def test_a_service_that_fences_by_itself_takes_nothing_else_for_a_token(header):
    with pytest.raises(ValueError, match="Fencing-Token"):
        fencing_token(header)


def test_what_a_service_answers_for_its_own_fence_stops_the_leader(response):
    status, headers, body = stale_response(StaleToken("row 5 of a secret table", token=7, highest=8))

    with pytest.raises(StaleToken) as caught:
        raise_for_stale(response(status, headers))

    assert (caught.value.token, caught.value.highest) == (7, 8)
    assert headers["Content-Type"] == "application/problem+json"
    assert b"secret" not in body

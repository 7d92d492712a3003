"""The HTTP fence in the worker processes of real servers, some of which are killed or stopped."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from leaderlock.errors import StaleToken
from leaderlock.fences import check_refuses_stale
from tests.fences.http_servers import service, stopped
from tests.servers.loopback import until

SERVERS = ["uvicorn", "gunicorn"]


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    with service(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(scope="module", params=SERVERS)
def impatient(request, tmp_path_factory):
    with service(request.param, tmp_path_factory.mktemp(request.param), timeout=0.3) as running:
        yield running


def two_workers(server):
    one = server.connect()
    return one, server.connect_to(lambda worker: worker != one.worker)


@pytest.fixture
def workers(server):
    """A connection to each."""
    one, other = two_workers(server)
    with one, other:
        yield one, other


@pytest.fixture
def token(server) -> int:
    """Above all that the service has seen."""
    return server.highest + 1


def test_a_new_leader_waits_for_the_old_ones_request_in_the_other_worker_and_reads_what_it_wrote(
    server, workers, token
):
    work = server.begin(workers[0], "slow", token)

    reading = server.in_background(workers[1], "GET", "/count", token + 1)
    until(lambda: server.has_somebody_in_the_door, "the new leader waits")
    time.sleep(0.1)
    assert not reading.done()
    assert server.highest == token
    written = work.end()

    assert written.status == 200
    assert reading.result(30).body == written.body
    with pytest.raises(StaleToken):
        workers[0].write(token)


def test_a_stale_request_is_refused_by_every_worker_and_changes_nothing(server, workers, token):
    workers[0].write(token + 1)
    before = server.counter

    for client in workers:
        answer = client.send("POST", "/add", token)
        problem = json.loads(answer.body)
        assert (answer.status, answer.headers["content-type"]) == (412, "application/problem+json")
        assert (problem["token"], problem["highest"]) == (token, token + 1)
        with pytest.raises(StaleToken) as caught:
            client.write(token)
        assert (caught.value.token, caught.value.highest) == (token, token + 1)

    assert server.counter == before


def test_requests_of_one_leader_run_side_by_side(server, workers, token):
    works = [server.begin(client, "slow", token) for client in workers]

    assert [work.end().status for work in works] == [200, 200]


def test_a_new_leaders_requests_that_waited_together_run_side_by_side(server, workers, token):
    old = server.begin(workers[0], "slow", token)
    with server.connect() as client:
        first = server.begin_soon(client, "slow", token + 1)
        second = server.in_background(workers[1], "GET", "/count", token + 1)
        until(lambda: server.has_somebody_in_the_door, "the new leader waits")
        old.end()
        until(lambda: first.has_begun, "the first is at work")

        assert second.result(5).status == 200
        first.end()


def test_a_worker_killed_in_the_middle_of_a_request_lets_the_new_leader_in_at_once(server, workers, token):
    work = server.begin(workers[0], "slow", token)
    reading = server.in_background(workers[1], "GET", "/count", token + 1)
    until(lambda: server.has_somebody_in_the_door, "the new leader waits")

    os.kill(workers[0].worker, signal.SIGKILL)

    assert int(reading.result(5).body) == server.counter
    assert work.sent.exception(5) is not None
    workers[1].write(token + 1)


def test_a_worker_killed_in_the_door_shuts_nobody_out(server, workers, token):
    work = server.begin(workers[0], "slow", token)
    waiting = server.in_background(workers[1], "GET", "/count", token + 1)
    until(lambda: server.has_somebody_in_the_door, "the new leader waits")

    os.kill(workers[1].worker, signal.SIGKILL)

    assert waiting.exception(5) is not None
    with server.connect_to(lambda worker: worker == workers[0].worker) as client:
        client.write(token)
        assert not server.has_somebody_in_the_door
    work.end()


def test_a_streamed_response_is_work_until_its_end(server, workers, token):
    work = server.begin(workers[0], "stream", token)
    reading = server.in_background(workers[1], "GET", "/count", token + 1)
    until(lambda: server.has_somebody_in_the_door, "the new leader waits")
    time.sleep(0.1)
    assert not reading.done()

    assert work.end().body == b"begin end"

    assert int(reading.result(5).body) == server.counter


def test_a_client_that_disappears_in_the_middle_of_its_request_keeps_nobody_out(server, workers, token):
    server.upload_and_vanish(token)

    assert workers[1].send("GET", "/count", token + 1).status == 200


def test_an_application_that_fails_keeps_nobody_out(server, workers, token):
    assert workers[0].send("POST", "/no-such-thing", token).status == 500

    assert workers[1].send("GET", "/count", token + 1).status == 200


def test_while_a_leader_waits_its_worker_serves_others(server, workers, token):
    work = server.begin(workers[0], "slow", token)
    waiting = server.in_background(workers[1], "GET", "/count", token + 1)
    until(lambda: server.has_somebody_in_the_door, "the new leader waits")

    with server.connect_to(lambda worker: worker == workers[1].worker) as client:
        began = time.monotonic()
        assert client.send("GET", "/count").status == 200
        assert time.monotonic() - began < 5
    assert not waiting.done()
    work.end()
    waiting.result(5)


def test_a_flood_of_the_old_leaders_requests_does_not_keep_the_new_one_out(server, token):
    over = threading.Event()

    def flood(milliseconds: int) -> int:
        """Requests of different lengths, so that they never end together by chance."""
        with server.connect() as client:
            while (answer := client.send("POST", f"/pause/{milliseconds}", token)).status == 200 and not over.is_set():
                pass
            return answer.status

    with ThreadPoolExecutor(12) as threads, server.connect() as client:
        flooding = [threads.submit(flood, 40 + 7 * number) for number in range(12)]
        try:
            until(lambda: server.highest == token, "the flood begins")
            time.sleep(0.2)

            assert client.send("GET", "/count", token + 1).status == 200

            assert {each.result(30) for each in flooding} == {412}
        finally:
            over.set()


def test_leaders_that_overlap_lose_no_update(server, token):
    before = server.counter

    def lead(own: int) -> int:
        """How many writes were admitted; every other one goes to the other worker."""
        one, other = two_workers(server)
        with one, other:
            for count, client in zip(range(10), itertools.cycle([one, other]), strict=False):
                try:
                    client.write(own)
                except StaleToken:
                    return count
        return 10

    with ThreadPoolExecutor(3) as leaders:
        done = sum(leaders.map(lead, range(token, token + 12)))

    assert done >= 10
    assert server.counter == before + done


def test_the_ready_test_passes_on_a_service_behind_this_fence(server, workers, token):
    clients = itertools.cycle(workers)

    check_refuses_stale(lambda own: next(clients).write(own), token=token)


def test_a_stopped_worker_that_could_still_write_keeps_the_new_leader_waiting(impatient):
    one, other = two_workers(impatient)
    token = impatient.highest + 1
    with one, other:
        work = impatient.begin(one, "slow", token)
        with stopped(one.worker):
            answer = other.send("GET", "/count", token + 1)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert impatient.highest == token
        written = work.end()

        assert other.send("GET", "/count", token + 1).body == written.body


def test_a_lost_watermark_admits_nothing_and_the_log_says_what_to_do(impatient):
    with impatient.connect() as client:
        token = impatient.highest + 2
        client.write(token)
        (impatient.folder / "watermark").unlink()

        answer = client.send("POST", "/add", token + 1)
        assert answer.status == 503
        assert str(impatient.folder) not in answer.body.decode()
        assert ".adopt(token)" in (impatient.folder / "log").read_text()
        impatient.gate.adopt(token)

        with pytest.raises(StaleToken):
            client.write(token - 1)
        client.write(token)


def test_a_restarted_service_refuses_what_it_refused_before(impatient):
    token = impatient.highest + 1
    with impatient.connect() as client:
        client.write(token + 1)

    impatient.stop()
    impatient.start()

    with impatient.connect() as client:
        with pytest.raises(StaleToken):
            client.write(token)
        client.write(token + 1)

"""The adapters, against the real libraries: several of each share a store, and each tick is run or sent once."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from leaderlock import Client, Schedule, connect, current_tick
from leaderlock.testing import Fault, FaultyBackend, MemoryBackend


@pytest.mark.parametrize("library", ["apscheduler", "celery"])
def test_without_the_library_the_error_says_what_to_install(library):
    program = f"import sys; sys.modules[{library!r}] = None; import leaderlock.integrations.{library}"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert f"pip install 'leaderlock[{library}]'" in done.stderr


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/leader.db"


@pytest.fixture
def clients(url) -> Iterator[Callable[[], Client]]:
    opened: list[Client] = []

    def open_one() -> Client:
        opened.append(connect(url, ttl=2, label=f"process {len(opened)}"))
        return opened[-1]

    yield open_one
    for client in opened:
        client.close()


def until(is_true: Callable[[], object], within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not is_true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


# -- APScheduler


def test_apschedulers_run_each_tick_once(clients):
    from apscheduler.schedulers.background import BackgroundScheduler

    from leaderlock.integrations.apscheduler import add_job

    ran: list[float] = []
    schedulers = [BackgroundScheduler(timezone=UTC) for _ in range(3)]
    for scheduler in schedulers:
        add_job(
            scheduler,
            lambda factor: ran.append(current_tick().at.timestamp() * factor),
            Schedule(0.25),
            name="job",
            client=clients(),
            args=[1],
            window=5,
        )
        scheduler.start()
    try:
        until(lambda: len(ran) >= 8)
    finally:
        for scheduler in schedulers:
            scheduler.shutdown()

    assert set(Counter(ran).values()) == {1}
    assert str(scheduler.get_job("job") or "@every 0.25s")


def test_apscheduler_fires_when_the_schedule_says(clients):
    from leaderlock.integrations.apscheduler import TickTrigger

    trigger = TickTrigger(Schedule("30 2 * * *", zone="Europe/Berlin"))
    now = datetime(2026, 3, 28, 12, tzinfo=UTC)

    first = trigger.get_next_fire_time(None, now)
    second = trigger.get_next_fire_time(first, now)

    assert [first, second] == [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 3, 30, 0, 30, tzinfo=UTC)]
    assert str(trigger) == "30 2 * * * (Europe/Berlin)"


def test_apscheduler_is_told_when_by_a_schedule(clients):
    from apscheduler.schedulers.background import BackgroundScheduler

    from leaderlock.integrations.apscheduler import add_job

    with pytest.raises(TypeError, match=r"write Schedule\('0 3 \* \* \*'\)"):  # and not when the scheduler starts
        add_job(BackgroundScheduler(), print, "0 3 * * *", name="job", client=clients())


@pytest.mark.parametrize("words", [{"seconds": 5}, {"id": "report", "name": "job"}])
def test_apschedulers_own_options_are_refused_in_the_name_of_what_was_called(words):
    from apscheduler.schedulers.background import BackgroundScheduler

    from leaderlock.integrations.apscheduler import add_job

    with pytest.raises(TypeError, match=rf"add_job\(\) takes no {next(iter(words))}: "):
        add_job(BackgroundScheduler(), print, "interval", **{"name": "job", **words})


# -- Celery


@pytest.fixture
def beats(url, tmp_path):
    """Beats of one application, each with its own schedule file, and what was sent by all of them."""
    from celery import Celery
    from celery.schedules import crontab
    from celery.signals import before_task_publish

    from leaderlock.integrations.celery import LeaderScheduler

    sent: list[str] = []
    opened: list[LeaderScheduler] = []

    def published(sender: str, **_: object) -> None:
        sent.append(sender)

    def open_one() -> LeaderScheduler:
        app = Celery("app", broker="memory://", set_as_current=False)
        app.conf.leaderlock_url = url
        app.conf.beat_schedule = {
            "minutely": {"task": "minutely", "schedule": crontab()},
            "often": {"task": "often", "schedule": timedelta(seconds=1)},
        }
        opened.append(LeaderScheduler(app, schedule_filename=str(tmp_path / f"beat-{len(opened)}")))
        return opened[-1]

    before_task_publish.connect(published)
    yield open_one, sent
    before_task_publish.disconnect(published)
    for beat in opened:
        beat.close()


def make_due(*schedulers: object) -> None:
    """As if a minute had passed since the crontab's last time."""
    for beat in schedulers:
        entry = beat.schedule["minutely"]
        entry.last_run_at = (entry.last_run_at or datetime.now(UTC)) - timedelta(seconds=60)
        beat.populate_heap()


def beat_for(seconds: float, *schedulers: object) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for beat in schedulers:
            beat.tick()
        time.sleep(0.01)


def test_one_of_several_beats_sends_and_another_follows_it(beats):
    open_one, sent = beats
    first, second, third = open_one(), open_one(), open_one()
    make_due(first, second, third)

    beat_for(3.3, first, second, third)
    by_one = Counter(sent)
    first.close()  # as a deployment does
    beat_for(3.3, second, third)
    by_two = Counter(sent) - by_one

    assert by_one["minutely"] in (1, 2), "one, or two if a minute began meanwhile"
    assert 2 <= by_one["often"] <= 4
    assert 1 <= by_two["often"] <= 4
    assert by_two["minutely"] <= 1
    leaders = second._client.job("beat/often").history
    assert all(later.started - earlier.started >= timedelta(seconds=0.9) for earlier, later in pairwise(leaders))


def test_what_is_sent_is_told_in_the_words_of_celery_s_own_schedulers_and_only_where_it_is_sent(beats, caplog):
    open_one, _ = beats
    first, second = open_one(), open_one()
    make_due(first, second)
    caplog.set_level("INFO")

    first.apply_entry(first.schedule["minutely"])
    second.apply_entry(second.schedule["minutely"])

    assert caplog.text.count("Scheduler: Sending due task minutely (minutely)") == 1


def test_a_beat_that_does_not_know_yet_that_it_was_replaced_sends_nothing_twice(beats, monkeypatch):
    open_one, sent = beats
    old, new = open_one(), open_one()
    make_due(old)
    old.apply_entry(old.schedule["minutely"])
    # Both believe that they lead: what is sent already is told by the tick, not by the leader.
    monkeypatch.setattr(new, "_seeks", old._seeks)
    make_due(new)

    new.apply_entry(new.schedule["minutely"])

    assert sent == ["minutely"]
    assert [outcome.host.split()[0] for outcome in new._open().job("beat/minutely").history] == ["celery"]


def test_a_beat_whose_broker_is_gone_goes_on(beats, monkeypatch, caplog):
    open_one, sent = beats
    beat = open_one()
    make_due(beat)
    monkeypatch.setattr(beat, "apply_async", lambda *_, **__: 1 / 0)

    beat.apply_entry(beat.schedule["minutely"])

    assert sent == []
    assert "was not sent" in caplog.text
    assert beat._open().job("beat/minutely").history[-1].how.value == "failed"


def test_a_beat_without_a_store_does_not_start(tmp_path, monkeypatch):
    from celery import Celery

    from leaderlock.integrations.celery import LeaderScheduler

    monkeypatch.delenv("LEADERLOCK_URL", raising=False)
    app = Celery("app", broker="memory://", set_as_current=False)

    # Not at the first entry that is due, which may be tonight.
    with pytest.raises(ValueError, match="no store is given"):
        LeaderScheduler(app, schedule_filename=str(tmp_path / "beat"))


# -- huey


def test_one_of_several_consumers_enqueues_a_periodic_task(clients):
    from huey import MemoryHuey, crontab
    from huey.consumer import Scheduler

    from leaderlock.integrations.huey import enqueue_once

    now = datetime.now(UTC).replace(tzinfo=None)
    other_month = str(now.month % 12 + 1)
    consumers = []
    for _ in range(3):
        huey = MemoryHuey("app")

        @huey.periodic_task(crontab(), name="reports")
        def reports() -> None: ...

        @huey.periodic_task(crontab(month=other_month), name="never")
        def never() -> None: ...

        enqueue_once(huey, client=clients())
        consumers.append((huey, Scheduler(huey, threading.Event(), 1, True)))

    for minute in (now - timedelta(minutes=5), now, now + timedelta(minutes=1)):
        for second, (_, scheduler) in zip((1, 29, 58), consumers, strict=True):  # each at a second of its own
            scheduler.enqueue_periodic_tasks(minute.replace(second=second))

    # What is five minutes old is not begun any more; a minute is enqueued once, by whoever came first.
    assert [task.name for huey, _ in consumers for task in huey.pending()] == ["reports"] * 2


@pytest.mark.parametrize(("fault", "enqueued"), [("NEVER_SENT", ["first"]), ("REFUSE", ["first", "third"])])
def test_a_consumer_outlives_its_store_and_enqueues_what_it_has_marked(fault, enqueued, caplog):
    from huey import MemoryHuey, crontab
    from huey.consumer import Scheduler

    from leaderlock.integrations.huey import enqueue_once

    faulty = FaultyBackend(MemoryBackend())
    huey = MemoryHuey("app")
    for name in ("first", "second", "third"):
        huey.periodic_task(crontab(), name=name)(lambda: None)
    with connect(faulty, ttl=1) as client:
        enqueue_once(huey, client=client)

        with faulty.inject(Fault[fault], op="any", times=None, when=lambda keys: "second" in str(keys)):
            Scheduler(huey, threading.Event(), 1, True).enqueue_periodic_tasks(datetime.now(UTC).replace(tzinfo=None))

    assert [task.name for task in huey.pending()] == enqueued
    assert "enqueued here" in caplog.text


# -- Django


@pytest.fixture
def manage(url):
    """``manage.py`` of a project, as far as these tests need one."""
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(INSTALLED_APPS=["leaderlock.integrations.django"], USE_TZ=True, TIME_ZONE="Europe/Berlin")
        django.setup()
    settings.LEADERLOCK_URL = url

    def run(*words: str) -> str:
        from django.core.management import call_command

        out = io.StringIO()
        call_command(*words, stdout=out)
        return out.getvalue()

    return run


def test_a_management_command_is_run_once_per_tick(manage, capsys):
    line = ["once_per_tick", "-v", "2", "--tolerance", "43200", "job", "@every 1d", "check"]

    first, second = manage(*line), manage(*line)

    assert first == ""
    assert capsys.readouterr().out.count("System check identified no issues") == 1
    assert "is not run here: done" in second


def test_the_settings_name_the_store_of_decorators_too(url):
    """As of the command: what the settings say goes before the environment."""
    program = (
        "import django\n"
        "from django.conf import settings\n"
        f"settings.configure(INSTALLED_APPS=['leaderlock.integrations.django'], LEADERLOCK_URL={url!r})\n"
        "django.setup()\n"
        "from leaderlock import current, only_on_leader\n"
        "print(only_on_leader('scheduler')(lambda: current().token)())\n"
    )
    environment = {**os.environ, "LEADERLOCK_URL": "memory:"}

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)

    with connect(url) as client:
        assert client.status("scheduler").last_token == int(done.stdout)


def test_a_management_command_near_no_tick_is_an_error(manage):
    from django.core.management import CommandError

    near = r"near enough to now \(\d{4}-.*\); the nearest is \d{4}-.*fired in another time zone than TIME_ZONE"
    with pytest.raises(CommandError, match=near):
        manage("once_per_tick", "job", "@every 10000d", "check")
    with pytest.raises(CommandError, match="no month that is named"):
        manage("once_per_tick", "job", "0 0 31 2 *", "check")


@pytest.fixture
def command(monkeypatch):
    """A management command of that name is run as the function says."""

    def install(name: str, run: Callable[[], object]) -> None:
        from django.core import management

        class Command(management.BaseCommand):
            requires_system_checks = ()

            def handle(self, *args: object, **options: object) -> None:
                run()

        known = {**management.get_commands(), name: Command()}
        monkeypatch.setattr(management, "get_commands", lambda: known)

    return install


def test_what_a_management_command_raises_is_its_own(manage, command):
    command("broken", lambda: int("x"))

    with pytest.raises(ValueError, match="invalid literal for int"):  # with its traceback
        manage("once_per_tick", "--tolerance", "43200", "job", "@every 1d", "broken")


def test_a_management_command_whose_store_cannot_be_used_is_an_error_in_a_line(manage, url, tmp_path):
    from django.conf import settings
    from django.core.management import CommandError

    settings.LEADERLOCK_URL = f"sqlite:///{tmp_path}/no/such/folder/leader.db"

    with pytest.raises(CommandError, match="there is no directory"):
        manage("once_per_tick", "--tolerance", "43200", "job", "@every 1d", "check")

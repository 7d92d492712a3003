"""The same world, with Hypothesis as its fate: it looks for the shortest way to a violation."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from .healing import heal
from .history import History
from .profiles import PROFILES

SEATS = st.integers(0, 2)
NAMES = st.sampled_from(["n0", "n1"])
QUIET = {"pauses": 0.0, "suspends": 0.0, "partitions": 0.0, "losses": 0.0, "requests": 0.0, "think": 1e6}


class World(RuleBasedStateMachine):
    """Three seats that do what they are told, and a store that forgets when it is told to."""

    @initialize(seed=st.integers(0, 1 << 16), profile=st.sampled_from(["calm", "mixed", "rough", "repeating"]))
    def begin(self, seed: int, profile: str) -> None:
        self.history = History(replace(PROFILES[profile], keeps_memory=0.0, longest=10.0, **QUIET), seed)

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.5, 2.0, 5.0, 12.0]))
    def pass_time(self, seconds: float) -> None:
        self.history.world.run(self.history.world.now + seconds)

    @rule(seat=SEATS, name=NAMES, patient=st.booleans())
    def campaign(self, seat: int, name: str, patient: bool) -> None:
        self.history.seats[seat].campaign(name, patient=patient)

    @rule(seat=SEATS, name=NAMES)
    def leave(self, seat: int, name: str) -> None:
        candidacy = self.history.seats[seat].tried.get(name)
        if candidacy is not None:
            self.history.seats[seat].leave(candidacy)

    @rule(seat=SEATS)
    def crash(self, seat: int) -> None:
        self.history.seats[seat].crash()

    @rule(seat=SEATS)
    def close(self, seat: int) -> None:
        self.history.seats[seat].close()

    @rule(seat=SEATS, seconds=st.sampled_from([1.0, 4.0, 9.0]))
    def pause(self, seat: int, seconds: float) -> None:
        self.history.seats[seat].process.pause(seconds)

    @rule(seat=SEATS, seconds=st.sampled_from([1.0, 4.0, 9.0]))
    def cut_off(self, seat: int, seconds: float) -> None:
        self.history.seats[seat].process.cut_off_until = self.history.world.now + seconds

    @rule(how=st.sampled_from(["rollback", "wipe", "failover"]), back=st.sampled_from([0.5, 3.0, 10.0]))
    def forget(self, how: str, back: float) -> None:
        self.history.lose_memory(how, back)

    def teardown(self) -> None:
        if hasattr(self, "history"):
            self.history.world.run(self.history.world.now + 10.0)
            heal(self.history)


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

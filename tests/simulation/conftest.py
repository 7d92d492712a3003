import pytest

from leaderlock.testing import MemoryStore

from .by_hand import Client


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def client(store):
    return Client(store)


@pytest.fixture
def rival(store):
    return Client(store, "b")

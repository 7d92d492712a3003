"""Ticks in the schedulers that people have, a module each; none is imported by anything else of leaderlock's."""

__all__: list[str] = []

"""What leaderlock costs, beside what the same work costs without it. See ``docs/benchmarks.md``."""

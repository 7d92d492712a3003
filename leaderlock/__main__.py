"""``python -m leaderlock``: the command line, even where its script is not on the path."""

import sys

from leaderlock.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())

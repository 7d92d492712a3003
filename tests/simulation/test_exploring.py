"""A small world, every history of it; and rules broken on purpose, which it must show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .breakages import BREAKAGES
from .cores import load
from .exploring.search import explore
from .exploring.spaces import SPACES

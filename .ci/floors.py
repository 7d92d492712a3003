"""Prints the oldest version of every dependency that pyproject.toml claims to work with."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
for dependency in [*project["dependencies"], *project["optional-dependencies"]["all"]]:
    if floor := re.fullmatch(r"([\w-]+)>=([\d.]+)", dependency):
        print(f"{floor[1]}=={floor[2]}")

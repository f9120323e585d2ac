"""Prints what pyproject.toml asks for, one requirement a line: `build` (to build and to run) or a named extra."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())
group = sys.argv[1]
if group == "build":
    wanted = project["build-system"]["requires"] + project["project"]["dependencies"]
else:
    wanted = project["project"]["optional-dependencies"][group]
print(*wanted, sep="\n")

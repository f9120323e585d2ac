"""Compilers for the testbed's programs. Go comes in two ages: any for our apps, a recent one for the Collector."""

import json
import os
import re
import stat
from pathlib import Path

from tests.testbed.cache import command, locked, root, tool

# Debian bookworm's Go is 1.19. Newer toolchains are modules (golang.org/toolchain), which any Go with modules can
# download and verify; only their executable bits are missing, since a module's zip has none.
RECENT_GO = "1.26.0"


def go_version(go: str) -> tuple[int, ...]:
    """(1, 26, 0) of "go version go1.26.0 linux/amd64"."""
    printed = command([go, "version"], env={"GOTOOLCHAIN": "local"})
    found = re.search(r"go(\d+(?:\.\d+)+)", printed)
    return tuple(int(n) for n in found[1].split(".")) if found else ()


def go() -> str:
    """Whatever Go the machine has."""
    return tool("go", "golang-go")


def recent_go() -> str:
    """A Go of at least RECENT_GO: the machine's own, or one fetched as a module by the machine's own."""
    own = go()
    if go_version(own) >= tuple(int(n) for n in RECENT_GO.split(".")):
        return own
    with locked("go-toolchain"):
        # Below go.mod's "go" line nothing is needed: an empty module lets `go mod download` run.
        module = root() / "go-toolchain"
        module.mkdir(exist_ok=True)
        (module / "go.mod").write_text("module toolchain\n\ngo 1.19\n")
        arch = command([own, "env", "GOARCH"]).strip()
        version = f"golang.org/toolchain@v0.0.1-go{RECENT_GO}.linux-{arch}"
        printed = command([own, "mod", "download", "-json", version], cwd=module, env={"GOFLAGS": "-mod=mod"})
        folder = Path(json.loads(printed[printed.index("{") :])["Dir"])
        for part in (folder / "bin", folder / "pkg" / "tool"):
            for program in part.rglob("*"):
                if program.is_file():
                    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return str(folder / "bin" / "go")


def go_environment(go_program: str) -> dict[str, str]:
    """Environment in which `go_program` uses itself and nothing else."""
    return {
        "GOTOOLCHAIN": "local",
        "GOROOT": command([go_program, "env", "GOROOT"], env={"GOTOOLCHAIN": "local", "GOROOT": ""}).strip(),
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=mod -buildvcs=false",
        "PATH": f"{Path(go_program).parent}:{os.environ.get('PATH', '')}",
    }

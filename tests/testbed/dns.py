"""dnsmasq as a resolver on port 53 of a loopback address of its own, and those that ask it.

Its names are below test.: web.test has addresses, www.test is another name of it and alias.test of that, big.test has
more addresses than a datagram takes.
"""

import os
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import cache, clients, toolchains
from tests.testbed.process import Program, answers
from tests.testbed.servers import APPS, PYTHON_APPS

ZONE = [
    "--local=/test/",
    "--host-record=web.test,10.1.2.3,fd00::3",
    "--cname=www.test,web.test",
    "--cname=alias.test,www.test",
    "--srv-host=_http._tcp.test,web.test,8080,1,2",
    *(f"--host-record=big.test,10.9.0.{number}" for number in range(1, 60)),
]


@dataclass(frozen=True, slots=True)
class Resolver:
    """A resolver that runs."""

    program: Program
    host: str

    def questions(self) -> list[tuple[str, str, int]]:
        """(name, type, the client's port) of all that it was asked, in order, by its own log."""
        found = re.findall(r" [\d.]+/(\d+) query\[(\w+)\] (\S+) from ", self.program.stderr)
        return [(name, kind, int(port)) for port, kind, name in found]

    def forwarded(self) -> int:
        """How many questions it passed on."""
        return len(re.findall(r" forwarded \S+ to ", self.program.stderr))


def own_host() -> str:
    """A loopback address that is nobody's."""
    return f"127.53.{os.getpid() & 0xFF}.{random.randrange(1, 255)}"


@contextmanager
def dnsmasq(*options: str) -> Iterator[Resolver]:
    """dnsmasq; by `options` it may know other names than those of ZONE."""
    host = own_host()
    argv = [cache.tool("dnsmasq", "dnsmasq-base"), "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    argv += ["--user=root", "--bind-interfaces", f"--listen-address={host}", "--log-queries=extra", "--log-facility=-"]
    argv += options or ZONE
    with (
        tempfile.TemporaryDirectory(prefix="otel-ebpf-dnsmasq-") as folder,
        Program(argv, Path(folder), "dnsmasq") as program,
    ):
        program.wait_until(lambda: answers(host, 53), "answers")
        yield Resolver(program, host)


def _go_app() -> Path:
    folder, go = APPS / "go-dns", toolchains.go()

    def build(into: Path) -> None:
        cache.command([go, "build", "-o", str(into / "app"), "."], cwd=folder, env=toolchains.go_environment(go))

    return cache.built("go-dns", cache.files_below(folder), cache.command([go, "version"]), build) / "app"


# Whose resolver asks.
RESOLVERS: dict[str, Callable[[], list[str | Path]]] = {
    "glibc": lambda: [sys.executable, PYTHON_APPS / "resolve.py"],
    "go": lambda: [_go_app()],
}


def resolve(whose: str, host: str, *names: str, options: str = "") -> int:
    """Asks the resolver at `host` for the addresses of these names; `options`: of resolv.conf. Returns the pid."""
    with tempfile.NamedTemporaryFile("w", prefix="otel-ebpf-resolv-", suffix=".conf") as conf:
        conf.write(f"nameserver {host}\noptions ndots:1 {options}\n")
        conf.flush()
        alone: list[str | Path] = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount --bind "$0" /etc/resolv.conf && exec "$@"',
            conf.name,
        ]
        pid, _ = clients.run([*alone, *RESOLVERS[whose](), *names])
        return pid


def dig(host: str, *arguments: str) -> int:
    """dig; returns its pid."""
    pid, _ = clients.run([cache.tool("dig", "bind9-dnsutils"), "+tries=1", f"@{host}", *arguments])
    return pid

"""PostgreSQL of the machine's own, whose log has every statement; and its clients: psycopg (libpq), asyncpg, pgx,
JDBC's driver, pgbench. Each client does on one connection what is its own way of doing things."""

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed import cache, tls, toolchains
from tests.testbed.clients import run
from tests.testbed.process import Program, eventually, free_port
from tests.testbed.servers import APPS, PYTHON_APPS

USER, DATABASE = "postgres", "shop"
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]

CONFIG = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
shared_buffers = 16MB
ssl = on
ssl_cert_file = '{folder}/cert.pem'
ssl_key_file = '{folder}/key.pem'
logging_collector = on
log_destination = jsonlog
log_directory = '{folder}'
log_filename = 'log'
log_rotation_age = 0
log_rotation_size = 0
log_statement = {statements}
client_connection_check_interval = 100ms
"""

_STATEMENT = re.compile(r"(?:statement|execute (?P<name>.*?)): (?P<text>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Call:
    """A statement, or a function that was called, as the server logged it."""

    pid: int  # of the server's process
    text: str  # "": a function was called
    code: str = ""  # SQLSTATE, where it failed


@dataclass(slots=True)
class Postgresql:
    """A server that runs."""

    program: Program
    port: int
    folder: Path

    def dsn(self, name: str, **more: str) -> str:
        """Of a connection whose calls `calls(name)` gives."""
        options = {"application_name": name, "sslmode": "disable", **more}
        query = "&".join(f"{key}={value}" for key, value in options.items())
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{DATABASE}?{query}"

    def sql(self, text: str) -> None:
        """Executes something."""
        run([_program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.dsn("psql"), "-c", text])

    def _rows(self) -> list[dict[str, Any]]:
        whole, _, _ = (self.folder / "log.json").read_text(errors="replace").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def calls(self, name: str) -> list[Call]:
        """All calls of connections with this application_name, in the order in which they were begun."""
        mark = f"SELECT 'mark {os.urandom(8).hex()}'"
        self.sql(mark)
        # what others have logged by now was written before
        rows = eventually(lambda: rows if mark in str((rows := self._rows())[-1:]) else [], "the log is written")
        pids = {row["pid"] for row in rows if row.get("application_name") == name}
        found: list[Call] = []
        for row in rows:
            if row["pid"] not in pids:
                continue
            last = found[-1] if found else None
            if row["error_severity"] in {"ERROR", "FATAL"} and "statement" in row:
                if last and (last.text, last.code) == (row["statement"], ""):
                    found.pop()  # it was logged when it began
                found.append(Call(row["pid"], row["statement"], row["state_code"]))
            elif statement := _STATEMENT.fullmatch(row["message"]):
                found.append(Call(row["pid"], statement["text"]))
            elif row["message"].startswith("fastpath function call"):
                found.append(Call(row["pid"], ""))
        return found


def _program(name: str) -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if not found:
        raise cache.BuildError(f"{name} is not there: apt-get install postgresql")
    return found[-1]


@contextmanager
def postgresql(*, logged: bool = True) -> Iterator[Postgresql]:
    """A server with an empty database and pgbench's tables. Not `logged`: as fast as it can be."""
    account = pwd.getpwnam(USER)
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-postgresql-") as temporary:
        folder = Path(temporary)
        data, port = folder / "data", free_port()
        for name, file in (("cert.pem", tls.certificate().certificate), ("key.pem", tls.certificate().key)):
            shutil.copy(file, folder / name)
        (folder / "key.pem").chmod(0o600)
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)
        initdb = [_program("initdb"), "-D", data, "-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "-N"]
        cache.command([*AS_USER, *map(str, initdb)])
        with (data / "postgresql.conf").open("a") as config:
            config.write(CONFIG.format(folder=folder, statements="all" if logged else "none"))
        command: list[str | Path] = [*AS_USER, _program("postgres"), "-D", data, "-p", str(port)]
        # a session of its own: its processes are ended with it
        with Program(command, folder / "out", "postgresql", cwd=folder) as program:
            ready = [str(_program("pg_isready")), "-h", "127.0.0.1", "-p", str(port)]
            is_ready = lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0  # noqa: E731
            program.wait_until(is_ready, "is ready")
            server = Postgresql(program, port, folder)
            where = ["-h", "127.0.0.1", "-p", str(port), "-U", USER]
            run([_program("createdb"), *where, DATABASE])
            run([_program("pgbench"), *where, "-i", "-q", DATABASE])
            yield server


def _pgx() -> Path:
    folder = APPS / "go-postgresql"
    go = toolchains.recent_go()

    def make(into: Path) -> None:
        env = toolchains.go_environment(go)
        cache.command([go, "build", "-o", str(into / "app"), "."], cwd=folder, env=env)

    return cache.built("app-go-postgresql", cache.files_below(folder), cache.command([go, "version"]), make) / "app"


def _jdbc() -> Path:
    folder = APPS / "java-postgresql"
    javac, mvn = cache.tool("javac", "default-jdk-headless"), cache.tool("mvn", "maven")

    def make(into: Path) -> None:
        copy = ["dependency:copy-dependencies", f"-DoutputDirectory={into}", "-DincludeScope=runtime"]
        cache.command([mvn, "-q", "-B", "-f", str(folder / "pom.xml"), *copy])
        cache.command([javac, "-d", str(into), str(folder / "Client.java")])

    return cache.built("app-java-postgresql", cache.files_below(folder), cache.command([javac, "-version"]), make)


APPLICATIONS: dict[str, Callable[[], Path]] = {"pgx": _pgx, "jdbc": _jdbc}


def _python(script: str) -> Callable[[str], list[str | Path]]:
    return lambda dsn: [sys.executable, PYTHON_APPS / script, dsn]


def _jdbc_command(dsn: str) -> list[str | Path]:
    java = cache.tool("java", "default-jdk-headless")
    url = "jdbc:" + dsn.replace(f"{USER}@", "").replace("application_name", "ApplicationName") + f"&user={USER}"
    return [java, "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp", f"{_jdbc()}:{_jdbc()}/*", "Client", url]


CLIENTS: dict[str, Callable[[str], list[str | Path]]] = {
    "psycopg": _python("client_psycopg.py"),
    "asyncpg": _python("client_asyncpg.py"),
    "pgx": lambda dsn: [_pgx(), dsn],
    "jdbc": _jdbc_command,
}


def client(name: str, dsn: str, *more: str) -> int:
    """Runs a client by name, a key of CLIENTS, to its end. Returns its pid."""
    pid, _ = run([*CLIENTS[name](dsn), *more], seconds=120)
    return pid


def pgbench(server: Postgresql, name: str, *options: str) -> tuple[int, int]:
    """(pid, transactions) of pgbench."""
    dsn = server.dsn(name)
    pid, out = run([_program("pgbench"), "-n", *options, dsn], seconds=120)
    found = re.search(r"transactions actually processed: (\d+)", out)
    assert found, out
    return pid, int(found[1])


class Session:
    """A client of libpq that does as it is told."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    def begin(self, text: str, parameters: Sequence[object] = (), *, prepare: bool = False) -> None:
        """Executes something, and does not wait for its end."""
        assert self._popen.stdin
        self._popen.stdin.write(json.dumps([text, parameters, prepare]) + "\n")
        self._popen.stdin.flush()

    def end(self) -> str:
        """How what was begun has ended: an SQLSTATE, or "ok"."""
        assert self._popen.stdout
        return self._popen.stdout.readline().strip()

    def execute(self, text: str, parameters: Sequence[object] = (), *, prepare: bool = False) -> str:
        """Executes something, to its end."""
        self.begin(text, parameters, prepare=prepare)
        return self.end()

    def kill(self) -> None:
        """Ends it without a word."""
        self._popen.kill()
        self._popen.wait()


@contextmanager
def session(dsn: str) -> Iterator[Session]:
    """A connection that stands."""
    argv = [sys.executable, str(PYTHON_APPS / "session_psycopg.py"), dsn]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as popen:
        try:
            standing = Session(popen)
            assert standing.end() == "ok"
            yield standing
        finally:
            popen.kill()

"""MariaDB, and clients of it that nobody here wrote: PyMySQL, mysqlclient, go-sql-driver, both JDBC drivers, its own.

The server logs every command that it is given (general_log); that is what spans are compared with. Clients read what
to do from lines, as apps/go-mysql/main.go tells, and say "ok" or what went wrong.
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import cache, maven, tls, toolchains
from tests.testbed.process import Program, answers, free_port
from tests.testbed.servers import APPS, PYTHON_APPS, Server

DATABASE = "shop"
TABLES = """
CREATE USER app@'%' IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO app@'%'; CREATE DATABASE shop; CREATE DATABASE other;
USE shop; CREATE TABLE numbers (a INT PRIMARY KEY, b VARCHAR(20)); INSERT INTO numbers SELECT seq, 'n' FROM seq_0_to_99;
CREATE TABLE batches (a INT); CREATE TABLE other.numbers AS SELECT * FROM numbers;
DELIMITER //
CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2, 3; END//
"""
# In the general log: a command, when it came (or not, if that is the same second), whose it was.
LINE = re.compile(r"^(?:\d{6} +\d+:\d\d:\d\d|\t)\t *(\d+) ([A-Z][A-Za-z ]*)\t(.*)$")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One command as the server itself logged it."""

    connection: int
    command: str  # "Query", "Prepare", "Execute", "Ping", "Init DB", "Connect", "Quit"...
    text: str


def general_log(server: Server) -> list[LogLine]:
    """All that the server was asked, in its order; a text's lines after the first are left out."""
    lines = server.log.read_text(errors="replace").splitlines()
    return [LogLine(int(found[1]), found[2], found[3]) for found in map(LINE.match, lines) if found]


@contextmanager
def server(*options: str, encrypted: bool = False) -> Iterator[Server]:
    """MariaDB with a few tables and a user "app"; `options`: more of mariadbd's."""
    install = cache.tool("mariadb-install-db", "mariadb-server")
    program_path = cache.tool("mariadbd", "mariadb-server")
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-mariadb-") as temporary:
        folder, port = Path(temporary), free_port()
        data, log = folder / "data", folder / "general.log"
        common = ["--no-defaults", "--user=root", f"--datadir={data}"]
        cache.command([install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"])
        own = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder}/sock"]
        own += ["--general-log=1", "--log-output=FILE", f"--general-log-file={log}", "--local-infile=1"]
        own += ["--max-allowed-packet=64M", "--innodb-buffer-pool-size=16M", f"--pid-file={folder}/pid"]
        if encrypted:
            own += [f"--ssl-cert={tls.certificate().certificate}", f"--ssl-key={tls.certificate().key}"]
        argv = [program_path, *common, *own, *options]
        with Program(argv, folder, "mariadb", cwd=folder) as program:
            program.wait_until(lambda: answers("127.0.0.1", port), "answers", 60)
            started = Server("mariadb", program, "127.0.0.1", port, log, encrypted=encrypted)
            statement(started, TABLES, database="")
            yield started


def _go_app() -> Path:
    folder = APPS / "go-mysql"
    go = toolchains.recent_go()

    def make(into: Path) -> None:
        cache.command([go, "build", "-o", str(into / "app"), "."], cwd=folder, env=toolchains.go_environment(go))

    return cache.built("app-go-mysql", cache.files_below(folder), cache.command([go, "version"]), make) / "app"


def _java_app(driver: str) -> list[str | Path]:
    folder = APPS / "java-mysql"
    javac = cache.tool("javac", "default-jdk-headless")

    def make(into: Path) -> None:
        cache.command([javac, "-d", str(into), str(folder / "Sql.java")])

    classes = cache.built("app-java-mysql", cache.files_below(folder), cache.command([javac, "-version"]), make)
    java = cache.tool("java", "default-jdk-headless")
    return [java, "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp", f"{classes}:{maven.jars(driver)}/*", "Sql"]


def _go(where: Server, options: str) -> list[str | Path]:
    secure = "&tls=skip-verify" if where.encrypted else ""
    return [_go_app(), f"{where.host}:{where.port}", DATABASE, f"{options}{secure}"]


def _python(driver: str, where: Server, options: str) -> list[str | Path]:
    secure = "tls" if where.encrypted else "clear"
    return [sys.executable, PYTHON_APPS / "sql_client.py", driver, str(where.port), DATABASE, secure, options]


def _mariadb_j(where: Server, options: str) -> list[str | Path]:
    secure = "sslMode=trust" if where.encrypted else "sslMode=disable"
    url = f"jdbc:mariadb://{where.host}:{where.port}/{DATABASE}?{secure}&{options}"
    return [*_java_app("org.mariadb.jdbc:mariadb-java-client:3.5.6"), url]


def _mysql_j(where: Server, options: str) -> list[str | Path]:
    secure = "sslMode=REQUIRED" if where.encrypted else "sslMode=DISABLED"
    url = f"jdbc:mysql://{where.host}:{where.port}/{DATABASE}?{secure}&{options}"
    return [*_java_app("com.mysql:mysql-connector-j:9.4.0"), url]


CLIENTS: dict[str, Callable[[Server, str], list[str | Path]]] = {
    "PyMySQL": lambda where, options: _python("pymysql", where, options),
    "mysqlclient": lambda where, options: _python("MySQLdb", where, options),
    "go": _go,
    "MariaDB-J": _mariadb_j,
    "MySQL-J": _mysql_j,
}


class Client:
    """A client that runs, with one connection."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    def answer(self, seconds: float = 60) -> str:
        """Its next line."""
        assert self._popen.stdout
        too_late = threading.Timer(seconds, self._popen.kill)
        too_late.start()
        try:
            return self._popen.stdout.readline().rstrip("\n")
        finally:
            too_late.cancel()

    def attempt(self, line: str) -> str:
        """Does this, and says what came of it."""
        assert self._popen.stdin
        self._popen.stdin.write(line + "\n")
        self._popen.stdin.flush()
        answer = self.answer()
        while answer.startswith("["):  # a driver's own log
            answer = self.answer()
        return answer

    def do(self, *lines: str) -> None:
        """Does these, one after the other; all succeed."""
        for line in lines:
            answer = self.attempt(line)
            assert answer == "ok", f"{line}: {answer}"


@contextmanager
def client(name: str, where: Server, options: str = "") -> Iterator[Client]:
    """A client by name, a key of CLIENTS, that is logged in; `options` as its driver writes them."""
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    argv: Sequence[str | Path] = CLIENTS[name](where, options)
    with subprocess.Popen(
        [str(part) for part in argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env,
    ) as popen:
        try:
            started = Client(popen)
            assert started.answer() == "ok"
            yield started
            assert popen.stdin
            popen.stdin.close()
            assert popen.wait(20) == 0
        finally:
            popen.kill()


def statement(where: Server, text: str, *options: str, database: str = DATABASE) -> tuple[int, str]:
    """(pid, output) of MariaDB's own client, which executes `text` as root."""
    argv = [cache.tool("mariadb", "mariadb-client"), "--no-defaults", "--batch", "--skip-column-names", *options]
    argv += ["-h127.0.0.1", f"-P{where.port}", "-uroot", database]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as popen:
        out, _ = popen.communicate(text, 60)
    assert popen.returncode == 0, out
    return popen.pid, out

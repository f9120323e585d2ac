"""Canaries: secrets in every place where real clients put them, and not one of them in anything that leaves the agent.

Not over OTLP, not on the terminal, in the log or in the queue's files; while what is no secret arrives.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.conftest import RunAgent
from tests.e2e.test_queue import on_disk, queue
from tests.testbed import agent as agents
from tests.testbed import cache, clients, collector, http2, mariadb, nginx, postgresql, redis
from tests.testbed.collector import Collector
from tests.testbed.memcached import memcached
from tests.testbed.process import eventually, free_port
from tests.testbed.telemetry import CLIENT, SERVER, Span

CANARY = "c4n4ry"
NUMBER = "4111111111111111"
TARGET = f"/hello;jsessionid={CANARY}1?t={{tag}}&token={CANARY}2&X-Amz-Signature={CANARY}3&user[password]={CANARY}4"
HEADERS = {
    "Authorization": f"Bearer {CANARY}5",
    "Cookie": f"session={CANARY}6",
    "X-Api-Key": f"{CANARY}7",
    "Proxy-Authorization": f"Basic {CANARY}8",
    "X-Auth-Token": f"{CANARY}9",
    "Referer": f"http://me:{CANARY}10@shop.example/?access_token={CANARY}11",
}
PLAIN = {"X-Tenant": "tenant-a"}


class Places:
    """Servers, and what clients do to them with secrets."""

    def __init__(self, stack: ExitStack) -> None:
        self.web = stack.enter_context(nginx.nginx(workers=1, proxy=False))
        self.h2 = stack.enter_context(http2.nginx())
        self.postgresql = stack.enter_context(postgresql.postgresql())
        self.mariadb = stack.enter_context(mariadb.server())
        self.redis = stack.enter_context(redis.redis("--requirepass", f"{CANARY}12"))
        self.memcached = stack.enter_context(memcached())

    def all(self, tag: str) -> None:
        self.http(tag)
        self.databases()

    def http(self, tag: str) -> None:
        headers = [part for name, value in (HEADERS | PLAIN).items() for part in ("-H", f"{name}: {value}")]
        curl = [cache.tool("curl", "curl"), "-s", "-g", "-o", "/dev/null", *headers, "-d", f"password={CANARY}13"]
        for server, more in ((self.web, []), (self.h2, ["--http2-prior-knowledge"])):
            url = f"http://me:{CANARY}14@{server.host}:{server.port}{TARGET.format(tag=tag)}"
            clients.run([*curl, *more, url])
        # in a proxy's form, the whole URL is in the request's first line
        clients.run(
            [*curl, "--request-target", f"http://me:{CANARY}15@shop.example{TARGET.format(tag=tag)}", self.web.url]
        )

    def databases(self) -> None:
        self.postgresql.sql(
            f"CREATE TABLE IF NOT EXISTS cards (holder text, number text);"
            f"INSERT INTO cards VALUES ('{CANARY}16', $${CANARY}17$$), (E'{CANARY}18', '{NUMBER}');"
            f"SELECT * FROM cards WHERE number = '{NUMBER}' /* {CANARY}19 */"
        )
        script = (
            "import sys, psycopg\n"
            "with psycopg.connect(sys.argv[1], autocommit=True) as conn:\n"
            "    conn.execute('SELECT %s::text', (sys.argv[2],), prepare=True)\n"
            "    try:\n"
            "        conn.execute(f\"SELECT '{sys.argv[2]}'::int\")\n"
            "    except psycopg.Error:\n"
            "        pass\n"
        )
        clients.run([sys.executable, "-c", script, self.postgresql.dsn("canary"), f"{CANARY}20"])
        mariadb.statement(self.mariadb, f"SELECT '{CANARY}21', {NUMBER}, \"{CANARY}22\"")
        for words in (
            ("SET", "cart:1", f"{CANARY}23"),
            ("HSET", "user:1", "password", f"{CANARY}24"),
            ("EVAL", f"return '{CANARY}25'", "0"),
            ("CONFIG", "SET", "masterauth", f"{CANARY}26"),
        ):
            redis.cli(self.redis, "-a", f"{CANARY}12", "--no-auth-warning", *words)
        script = (
            "import sys\n"
            "from pymemcache.client.base import Client\n"
            "client = Client((sys.argv[1], int(sys.argv[2])))\n"
            "client.set('cart', sys.argv[3])\n"
            "assert client.get('cart') == sys.argv[3].encode()\n"
        )
        server = self.memcached
        clients.run([sys.executable, "-c", script, server.host, str(server.port), f"{CANARY}27"])


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    """Servers that run."""
    with ExitStack() as stack:
        yield Places(stack)


def none_in(text: str) -> None:
    """Shows where a canary sings."""
    for secret in (CANARY, NUMBER):
        at = text.find(secret)
        assert at < 0, f"...{text[max(0, at - 300) : at + 60]}..."


ASKED = {"OTEL_EBPF_PRIVACY_HEADERS_REQUEST": "*", "OTEL_EBPF_PRIVACY_HEADERS_RESPONSE": "*", "OTEL_LOG_LEVEL": "debug"}


def header(span: Span, name: str) -> object:
    return span.attributes.get(f"http.request.header.{name}")


def test_no_canary_leaves_the_agent(places: Places, fence: agents.Fence, tag: str, tmp_path: Path) -> None:
    env = queue(tmp_path / "queue") | ASKED
    nowhere = f"http://127.0.0.1:{free_port()}"
    with collector.collector() as backend:
        with agents.running(backend, fence, "--lines", env=env, endpoint=nowhere) as agent:
            places.all(tag)

            def written() -> bool:
                agent.program.must_run()
                missing = [text for text in (tag, "cards", "memcached", "redis") if not on_disk(tmp_path, text)]
                return not missing and any(on_disk(tmp_path, text) for text in ("mysql", "mariadb"))

            eventually(written, "all of it is on disk", 20, every=0.1)
            assert agent.end() == 0
            kept = b"".join(file.read_bytes() for file in sorted((tmp_path / "queue").rglob("*")) if file.is_file())
            shown = agent.program.stdout + agent.program.stderr
        none_in(kept.decode(errors="replace"))
        none_in(shown)
        assert tag in shown
        assert "REDACTED" in shown
        with agents.running(backend, fence, env=env) as agent:
            places.http(tag)
            agent.settle()
            arrived(backend, agent, tag)
            assert agent.end() == 0
            none_in(agent.program.stdout + agent.program.stderr)
        none_in(backend.file.read_text())


def arrived(backend: Collector, agent: agents.Agent, tag: str) -> None:
    """What is no secret is there, and what is one says so."""
    spans = [span for span in agent.telemetry.refresh().spans if span.tag == tag]
    for kind in (SERVER, CLIENT):
        versions = {span.attributes["network.protocol.version"] for span in spans if span.kind == kind}
        assert versions == {"1.1", "2"}
    for span in spans:
        assert header(span, "x-tenant") == ["tenant-a"]
        assert header(span, "referer") == ["http://REDACTED:REDACTED@shop.example/?access_token=REDACTED"]
        for name in ("authorization", "cookie", "x-api-key", "proxy-authorization", "x-auth-token"):
            assert header(span, name) == ["REDACTED"]
        assert span.attributes["http.response.header.date"]
    queries = [span.attributes.get("url.query", "") for span in spans if span.kind == SERVER]
    assert any("token=REDACTED&X-Amz-Signature=REDACTED&user[password]=REDACTED" in query for query in queries)
    systems = {span.attributes.get("db.system.name") for span in agent.telemetry.spans}
    assert {"postgresql", "redis", "memcached"} <= systems
    assert {"mariadb", "mysql"} & systems


def test_lists_of_attributes_and_parameters(run_agent: RunAgent, places: Places, tag: str) -> None:
    env = {
        "OTEL_EBPF_PRIVACY_ATTRIBUTES_DROP": "client.address,user_agent.*,db.query.text",
        "OTEL_EBPF_PRIVACY_QUERY_PARAMETERS_KEEP": "t",
    }
    with run_agent("--lines", env=env) as agent:
        curl = [cache.tool("curl", "curl"), "-s", "-o", "/dev/null"]
        clients.run([*curl, f"{places.web.url}/hello?t={tag}&q={CANARY}&{CANARY}"])
        places.postgresql.sql("SELECT 1 + 1 AS two")
        agent.settle()
        [server] = [span for span in agent.telemetry.spans if span.kind == SERVER and span.tag == tag]
        [client] = [span for span in agent.telemetry.spans if span.kind == CLIENT and span.tag == tag]
        assert server.attributes["url.query"] == f"t={tag}&q=REDACTED&REDACTED"
        assert client.attributes["url.full"].endswith(f"/hello?t={tag}&q=REDACTED&REDACTED")
        everything = [span.attributes for span in agent.telemetry.spans]
        assert any(attributes.get("db.query.summary") for attributes in everything)
        for name in ("client.address", "user_agent.original", "db.query.text"):
            assert not any(name in attributes for attributes in everything), name
        assert "two" not in agent.program.stdout
        none_in(agent.program.stdout)


def test_headers_are_captured_only_if_asked_for(run_agent: RunAgent, places: Places, tag: str) -> None:
    with run_agent() as agent:
        places.http(tag)
        agent.settle()
        assert not any(".header." in name for span in agent.telemetry.spans for name in span.attributes)


def test_the_command_line_shows_no_secret() -> None:
    env = {
        "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={CANARY}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://u:{CANARY}@c:4318",
    }
    for form in ("text", "json", "yaml"):
        command = [str(agents.COMMAND), "config", "show", "-o", form]
        done = subprocess.run(command, env=agents.environment(None) | env, capture_output=True, text=True, check=True)
        none_in(done.stdout + done.stderr)
        assert "api-key" in done.stdout

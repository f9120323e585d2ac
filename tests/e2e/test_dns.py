"""Lookups over UDP and TCP: each question in the resolver's log is one lookup on either side."""

import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.testbed import dns
from tests.testbed.agent import Agent
from tests.testbed.dns import Resolver
from tests.testbed.process import eventually
from tests.testbed.telemetry import CLIENT, SERVER, Span

NAMES = ["web.test", "alias.test", "none.test", "www.test"]


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    """A resolver that nobody else asks."""
    with dns.dnsmasq() as started:
        yield started


def lookups(agent: Agent, pid: int, kind: int) -> list[Span]:
    return [span for span in agent.spans({pid}, kind) if "dns.question.name" in span.attributes]


def questions(spans: list[Span]) -> Counter[tuple[str, str]]:
    return Counter((s.attributes["dns.question.name"], s.attributes["otel_ebpf.dns.question.type"]) for s in spans)


def asked(resolver: Resolver) -> Counter[tuple[str, str]]:
    return Counter((name, kind) for name, kind, _ in resolver.questions())


def by_question(spans: list[Span], name: str, kind: str) -> Span:
    (found,) = [span for span in spans if questions([span]) == {(name, kind): 1}]
    return found


@pytest.mark.parametrize("whose", dns.RESOLVERS)
def test_lookups_of_a_resolver(agent: Agent, resolver: Resolver, whose: str) -> None:
    pid = dns.resolve(whose, resolver.host, *NAMES)
    agent.settle()
    spans = lookups(agent, pid, CLIENT)
    assert questions(spans) == asked(resolver) == questions(lookups(agent, resolver.program.pid, SERVER))
    alias = by_question(spans, "alias.test", "A")
    assert alias.name == "DNS A"
    assert alias.attributes["dns.answers"] == ["www.test", "web.test", "10.1.2.3"]
    assert (alias.attributes["server.address"], alias.attributes["server.port"]) == (resolver.host, 53)
    assert by_question(spans, "web.test", "AAAA").attributes["dns.answers"] == ["fd00::3"]
    for span in spans:
        failed = span.attributes["dns.question.name"] == "none.test"
        assert span.error_type == ("NXDOMAIN" if failed else "")


def test_lookups_over_tcp(agent: Agent, resolver: Resolver) -> None:
    everything = ["web.test", "a", "none.test", "aaaa", "_http._tcp.test", "srv", "alias.test", "a"]
    pid = dns.dig(resolver.host, "+tcp", "+keepopen", *everything)
    agent.settle()
    spans = lookups(agent, pid, CLIENT)
    assert questions(spans) == asked(resolver) == questions(lookups(agent, resolver.program.pid, SERVER))
    assert len(spans) == 4
    assert len({port for _, _, port in resolver.questions()}) == 1
    assert by_question(spans, "_http._tcp.test", "SRV").attributes["dns.answers"] == ["web.test"]


def test_a_truncated_answer_is_asked_for_again_over_tcp(agent: Agent, resolver: Resolver) -> None:
    pid = dns.dig(resolver.host, "+noedns", "big.test", "a")
    agent.settle()
    truncated, whole = lookups(agent, pid, CLIENT)
    assert questions([truncated, whole]) == asked(resolver) == {("big.test", "A"): 2}
    assert 0 < len(truncated.attributes["dns.answers"]) < len(whole.attributes["dns.answers"])


def test_nobody_answers(agent: Agent) -> None:
    host = dns.own_host()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((host, 53))
        pid = dns.resolve("glibc", host, "web.test.", options="timeout:1 attempts:2")

        def over() -> list[Span]:
            agent.settle()
            return lookups(agent, pid, CLIENT)

        spans = eventually(over, "lookups are given up", 60)
    assert questions(spans) == {("web.test", "A"): 1, ("web.test", "AAAA"): 1}
    for span in spans:
        assert span.error_type == "timeout"
        assert span.attributes["otel_ebpf.dns.retries"] == 1
        assert 1 < span.duration_s < 10


def test_a_forwarder_asks_and_is_asked(agent: Agent, resolver: Resolver) -> None:
    with dns.dnsmasq(f"--server={resolver.host}", "--cache-size=0") as forwarder:
        dns.resolve("glibc", forwarder.host, *NAMES)
        agent.settle()
        served, passed_on = (lookups(agent, forwarder.program.pid, kind) for kind in (SERVER, CLIENT))
        assert questions(served) == asked(forwarder)
        assert passed_on
        assert questions(passed_on) == asked(resolver)
        assert passed_on == [span for span in passed_on if span.attributes["server.address"] == resolver.host]


def test_many_clients_of_one_socket(agent: Agent, resolver: Resolver) -> None:
    names = [name for _ in range(50) for name in NAMES]
    with ThreadPoolExecutor() as pool:
        pids = list(pool.map(lambda _: dns.resolve("glibc", resolver.host, *names), range(4)))
    agent.settle()
    by_clients = sum((questions(lookups(agent, pid, CLIENT)) for pid in pids), Counter())
    assert by_clients == asked(resolver)
    assert by_clients.total() >= 4 * 50 * 8
    assert questions(lookups(agent, resolver.program.pid, SERVER)) == asked(resolver)

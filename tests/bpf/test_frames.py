"""Of HTTP/2, frame headers and what is wanted of payloads goes to user space, the rest is told by its length.

The dialogues are in frames.py; what the ring has of both ends of each is compared with what was said.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from otel_ebpf.agent.tls import _as_core_wants as as_core_wants
from otel_ebpf.discover.tls.findings import Attachment
from otel_ebpf.discover.tls.inspect import examine
from tests.bpf import frames, records
from tests.bpf.frames import DIALOGUES
from tests.bpf.records import RECV, SEND, Ring
from tests.bpf.watched import assert_dialogue, assert_told, ends, watching
from tests.testbed import tls

MORE_SEEDS = {"cut_at_random": 8, "vectors": 4, "both_at_once": 3, "header_then_payload": 2, "sendmmsg": 2}
APART = {"within_tls", "an_old_one", "more_than_the_ring_holds", "not_what_it_seems"}
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    with watching(64 << 20) as (_, ring):
        ring.let_nobody_say()  # what becomes of the records is none of these tests' business
        yield ring


@pytest.mark.parametrize(
    ("name", "seed"),
    [(name, seed) for name in DIALOGUES if name not in APART for seed in range(1, MORE_SEEDS.get(name, 1) + 1)],
)
def test_dialogue(ring: Ring, name: str, seed: int) -> None:
    assert_dialogue(ring, name, seed)


@pytest.mark.parametrize("name", ["megabyte", "megabyte_frame_by_frame"])
def test_a_megabyte_costs_little(ring: Ring, name: str) -> None:
    ring.connections()
    with ends(name) as both:
        both.all_turns()
    client, server = both.of(ring.connections())
    for segments in (client.ways[RECV], server.ways[SEND]):
        captured = assert_told(segments, both.it.stream(1))
        assert captured < MEGABYTE * 0.05
        assert len(segments) < 64 * 8
    if name == "megabyte":
        assert captured < 64 * 25 + 1024
        assert len(segments) < 64 + 8


def test_many_small_frames_share_records(ring: Ring) -> None:
    ring.connections()
    with ends("many_small_ones") as both:
        both.all_turns()
    client, _ = both.of(ring.connections())
    stream = both.it.stream(0)
    assert assert_told(client.ways[SEND], stream) == len(stream)
    assert len(client.ways[SEND]) < len(stream) / 4096 + 8


def test_what_is_no_preface_is_no_http2(ring: Ring) -> None:
    """As of any stream that is not known, the edges of what is large."""
    ring.connections()
    with ends("not_what_it_seems") as both:
        both.all_turns()
    for end, asks, answers in zip(both.of(ring.connections()), (SEND, RECV), (RECV, SEND), strict=True):
        for way, said in ((asks, 0), (answers, 1)):
            stream = both.it.stream(said)
            assert sum(segment.adv for segment in end.ways[way]) == len(stream)
            assert all(segment.data == stream[segment.off : segment.end] for segment in end.ways[way])


def test_within_tls() -> None:
    library = tls.libssl("3.0")
    with library.open("rb") as file:
        (found,) = examine(file.fileno())
    assert isinstance(found, Attachment)
    probes = [each for probe in found.probes for each in as_core_wants(probe)]
    with watching(16 << 20) as (session, ring):
        ring.let_nobody_say()
        session.add_probes(library, probes, client_random=found.random_path, is_server=found.is_server)
        assert_dialogue(ring, "within_tls")


def test_a_connection_that_user_space_recognised() -> None:
    with ends("an_old_one") as both:
        both.turn()
        with watching(16 << 20) as (_, ring):
            both.turn()
            seen = ring.connections()
            for end in both.of(seen):
                ring.say(end.conn, records.HTTP2)
            both.turn()
            both.turn()
            client, server = both.of(ring.connections(seen))
    asked, answered = (b"".join(turn[end] for turn in both.it.turns[1:]) for end in (0, 1))
    for end, asks, answers in ((client, SEND, RECV), (server, RECV, SEND)):
        assert assert_told(end.ways[asks], asked) == len(asked)
        assert assert_told(end.ways[answers], answered) < MEGABYTE * 0.05


def test_what_the_ring_has_no_room_for_is_counted_and_passed_over() -> None:
    """A ring of a page never has room for the largest records."""
    with ends("more_than_the_ring_holds") as both, watching(4096, [both.port]) as (session, ring):
        ring.let_nobody_say()
        both.turn()
        _, server = both.of(ring.connections())
        session.flush()
        both.turn()
        session.flush()
        assert session.counters()["records.lost.segment"] > 0
        ring.pass_over()
        both.turn()
        server = ring.connections({server.conn: replace(server, ways=([], []))})[server.conn]
    before, last = len(frames.settings()) + len(both.it.turns[1][1]), both.it.turns[2][1]
    rest = 16009 - 5000
    skipped, asked = server.ways[SEND]
    assert (skipped.off, skipped.adv, skipped.data) == (before, rest, b"")
    assert skipped.flags == records.LOST
    assert (asked.off, asked.data, asked.flags) == (before + rest, last[rest:], 0)

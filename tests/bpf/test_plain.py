"""Of what is not HTTP, each operation goes to user space for itself, once that has said so.

The dialogues are in others.py; what the ring has of both ends of each is compared with what was said.
"""

import pytest

from tests.bpf import others, records
from tests.bpf.others import BEFORE, HEAD, TAIL, WHOLE
from tests.bpf.records import RECV, SEND
from tests.bpf.watched import assert_spoken_for, ends, recognised, watching


@pytest.mark.parametrize("name", ["questions_and_answers", "looks_like_http", "one_way_for_long"])
def test_operations_of_usual_size_are_passed_on_whole(name: str) -> None:
    it = recognised(name, records.PLAIN)
    for end, asks, answers in ((it.client, SEND, RECV), (it.server, RECV, SEND)):
        assert sum(assert_spoken_for(end.ways[asks], it.asked)) == len(it.asked)
        assert sum(assert_spoken_for(end.ways[answers], it.answered)) == len(it.answered)


@pytest.mark.parametrize("name", ["large_operations", "large_vectors"])
def test_of_large_operations_the_edges_are_passed_on(name: str) -> None:
    it = recognised(name, records.PLAIN)
    for segments, stream in ((it.client.ways[SEND], it.asked), (it.server.ways[SEND], it.answered)):
        assert sum(assert_spoken_for(segments, stream)) < len(stream) * 0.1
        assert [len(segment.data) for segment in segments[:3]] == [len(BEFORE), HEAD, TAIL]
    for segments, stream in ((it.client.ways[RECV], it.answered), (it.server.ways[RECV], it.asked)):
        assert sum(assert_spoken_for(segments, stream)) == len(stream), f"at most {WHOLE} at a time were read"


def test_what_the_ring_has_no_room_for_is_a_hole_and_counted_nowhere() -> None:
    """A ring of a page has no room for pieces of large operations."""
    it = recognised("large_between_small", records.PLAIN, ring_bytes=4096)
    assert it.counters["records.lost.segment"] > 0
    for before, after in (it.client.ways[SEND], it.server.ways[RECV]):
        assert (before.off, before.flags) == (0, 0)
        assert (after.off, after.data, after.flags) == (len(it.asked) - 10, it.asked[-10:], records.LOST)


def test_a_new_connection_is_passed_on_whole_before_it_is_known_what_it_speaks() -> None:
    """More at once than is passed on of a burst of HTTP's."""
    with watching(64 << 20) as (session, ring), ends("much_at_once", held_in=others) as both:
        ring.let_nobody_say()
        both.all_turns()
        session.flush()
        client, server = both.of(ring.connections())
    for way in (client.ways[SEND], server.ways[RECV]):
        assert all(assert_spoken_for(way, both.it.stream(0)))

"""Of protocols that are made of frames, headers and what is wanted of payloads goes to user space, the rest is told by
its length.

The dialogues are in others.py; what the ring has of both ends of each is compared with what was said.
"""

import pytest

from tests.bpf import records
from tests.bpf.others import DIALOGUES, FORMATS
from tests.bpf.records import RECV, SEND
from tests.bpf.watched import WANT_OF_ANSWERS, assert_framed, assert_spoken_for, framed_ways, told_of_frames

LARGE = 60_000


@pytest.mark.parametrize("name", [name for name in DIALOGUES if name.startswith("framed_") and ": " in name])
def test_headers_and_what_is_wanted_are_passed_on(name: str) -> None:
    assert_framed(name)


@pytest.mark.parametrize("name", FORMATS)
def test_bulk_costs_little(name: str) -> None:
    format_ = FORMATS[name]
    for segments, stream, want, begins in framed_ways(told_of_frames(f"framed_bulk: {name}", format_), format_):
        small = sum(format_.header + size for _, size in begins if size < LARGE)
        large = sum(size == LARGE for _, size in begins)
        assert sum(assert_spoken_for(segments, stream)) <= 20 + small + large * (format_.header + want)
        assert len(segments) <= 3 * len(begins)


def test_the_rest_of_a_frame_is_not_taken_for_one() -> None:
    """What comes behind it is told again, once it is known where it begins."""
    format_ = FORMATS["kafka"]
    it = told_of_frames("told_in_the_middle", format_)
    small = 4 + 300
    for segments, stream in ((it.client.ways[RECV], it.answered), (it.server.ways[SEND], it.answered)):
        have = assert_spoken_for(segments, stream)
        assert sum(have[-small:]) == small
        assert sum(have[-small - 4 - LARGE : -small]) == 4 + WANT_OF_ANSWERS


@pytest.mark.parametrize("name", ["found_in_the_middle", "found_among_answers"])
def test_nothing_is_missing_where_it_is_not_known_where_frames_begin(name: str) -> None:
    it = told_of_frames(name, FORMATS["postgresql"])
    for end, asks, answers in ((it.client, SEND, RECV), (it.server, RECV, SEND)):
        assert all(assert_spoken_for(end.ways[asks], it.asked))
        assert all(assert_spoken_for(end.ways[answers], it.answered))


def test_frames_are_followed_through_what_the_ring_has_no_room_for() -> None:
    """A ring of a page has no room for the largest records."""
    format_ = FORMATS["kafka"]
    it = told_of_frames("framed_and_lost", format_, 4096)
    assert it.counters["records.lost.segment"] > 0
    *_, skipped, last = it.client.ways[SEND]
    assert (skipped.flags, skipped.adv, skipped.data) == (records.LOST, 5004 - 3000, b"")
    assert (last.flags, last.data) == (0, it.asked[-14:])

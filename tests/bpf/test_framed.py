"""Of protocols that are made of frames, headers and what is wanted of payloads goes to user space, the rest is told by
its length.

The dialogues are in others.py; what the ring has of both ends of each is compared with what was said.
"""

from collections.abc import Iterator

import pytest

from tests.bpf import frames, records
from tests.bpf.others import DIALOGUES, FORMATS, Format
from tests.bpf.records import RECV, SEND, Segment
from tests.bpf.watched import Told, assert_spoken_for, recognised

WANT_OF_QUESTIONS, WANT_OF_ANSWERS = 100, 16
LARGE = 60_000


def told(name: str, format_: Format, ring_bytes: int = 64 << 20) -> Told:
    client = format_.packed(WANT_OF_ANSWERS, WANT_OF_QUESTIONS)
    server = format_.packed(WANT_OF_QUESTIONS, WANT_OF_ANSWERS)
    return recognised(name, records.FRAMED, (client, server), ring_bytes)


def ways(it: Told, format_: Format) -> Iterator[tuple[list[Segment], bytes, int, list[tuple[int, int]]]]:
    """Each way of each end, with its stream, how much of a payload is wanted and where frames begin."""
    for end, asks, answers in ((it.client, SEND, RECV), (it.server, RECV, SEND)):
        for way, stream, want in ((asks, it.asked, WANT_OF_QUESTIONS), (answers, it.answered, WANT_OF_ANSWERS)):
            said_before = len(stream) - len(stream.lstrip(b"x"))
            begins = [(said_before + at, size) for at, size in format_.frames_of(stream[said_before:])]
            yield end.ways[way], stream, want, begins


@pytest.mark.parametrize("name", [name for name in DIALOGUES if name.startswith("framed_") and ": " in name])
def test_headers_and_what_is_wanted_are_passed_on(name: str) -> None:
    format_ = FORMATS[name.partition(": ")[2]]
    for segments, stream, want, begins in ways(told(name, format_), format_):
        have = assert_spoken_for(segments, stream)
        for at, size in begins:
            wanted = size if size <= frames.SHORT else want
            assert all(have[at : at + format_.header + wanted]), (at, size)


@pytest.mark.parametrize("name", FORMATS)
def test_bulk_costs_little(name: str) -> None:
    format_ = FORMATS[name]
    for segments, stream, want, begins in ways(told(f"framed_bulk: {name}", format_), format_):
        small = sum(format_.header + size for _, size in begins if size < LARGE)
        large = sum(size == LARGE for _, size in begins)
        assert sum(assert_spoken_for(segments, stream)) <= 20 + small + large * (format_.header + want)
        assert len(segments) <= 3 * len(begins)


def test_the_rest_of_a_frame_is_not_taken_for_one() -> None:
    """What comes behind it is told again, once it is known where it begins."""
    format_ = FORMATS["kafka"]
    it = told("told_in_the_middle", format_)
    small = 4 + 300
    for segments, stream in ((it.client.ways[RECV], it.answered), (it.server.ways[SEND], it.answered)):
        have = assert_spoken_for(segments, stream)
        assert sum(have[-small:]) == small
        assert sum(have[-small - 4 - LARGE : -small]) == 4 + WANT_OF_ANSWERS


def test_frames_are_followed_through_what_the_ring_has_no_room_for() -> None:
    """A ring of a page has no room for the largest records."""
    format_ = FORMATS["kafka"]
    it = told("framed_and_lost", format_, 4096)
    assert it.counters["records.lost.segment"] > 0
    *_, skipped, last = it.client.ways[SEND]
    assert (skipped.flags, skipped.adv, skipped.data) == (records.LOST, 5004 - 3000, b"")
    assert (last.flags, last.data) == (0, it.asked[-14:])

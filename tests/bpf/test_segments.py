"""What goes to user space of the bytes on a socket suffices, however they are cut and by whichever call they go.

The conversations are in conversations.py; each side of each is compared with what was said.
"""

import pytest

from otel_ebpf._native import Session
from tests.bpf import talk
from tests.bpf.conversations import CONVERSATIONS

MORE_SEEDS = {"chunked_in_one": 3, "chunked_behind_its_head": 3, "chunked_in_odd_cuts": 5, "a_thousand_iovecs": 3}
# A head in many small pieces is not looked into; what follows it is copied whole, but not without end.
BEST_EFFORT = "large_chunked_in_odd_cuts"


@pytest.mark.parametrize(
    ("name", "seed"),
    [(name, seed) for name in CONVERSATIONS if name != BEST_EFFORT for seed in range(1, MORE_SEEDS.get(name, 1) + 1)],
)
def test_conversation(session: Session, name: str, seed: int) -> None:
    talk.assert_heard(session, talk.run(name, seed))
    assert session.counters()["records.malformed"] == 0


def test_bodies_that_are_counted_with_their_framing(session: Session) -> None:
    """Beyond 256 KB of a chunked body whose head came in pieces, chunk lines count as its bytes."""
    told = talk.run(BEST_EFFORT)
    for role, lines in talk.heard(session, told).items():
        assert [line.target for line in lines] == [want["target"] for want in told.expected], role
        for line, want in zip(lines, told.expected, strict=True):
            assert (line.status, line.error_type) == (200, "")
            for size in ("request_body_bytes", "response_body_bytes"):
                exact = want[size]
                assert exact <= getattr(line, size) <= exact * 1.01, (role, line)
                assert exact > 256 << 10 or getattr(line, size) == exact, (role, line)

"""Exponential histograms' buckets: what is new in them since an earlier reading.

The scale of a cumulative histogram only ever falls, by making one bucket of each two neighbours. So an earlier reading
is brought to the present scale, and what it has is taken off.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from otel_ebpf.model import Exponential


@dataclass(frozen=True, slots=True)
class Buckets:
    """Fits `model.Exponential`."""

    scale: int = 0
    zero_count: int = 0
    offset: int = 0
    counts: Sequence[int] = ()


def increase(now: Exponential, before: Exponential | None) -> Exponential:
    """What `now` has and `before`, an earlier reading of the same histogram, has not."""
    if before is None or not (before.counts or before.zero_count):
        return now
    counts = list(now.counts)
    for index, count in enumerate(before.counts, before.offset):
        counts[(index >> (before.scale - now.scale)) - now.offset] -= count
    first = next((place for place, count in enumerate(counts) if count), len(counts))
    end = next((place for place in range(len(counts), first, -1) if counts[place - 1]), first)
    return Buckets(now.scale, now.zero_count - before.zero_count, now.offset + first, counts[first:end])


def downscaled(offset: int, counts: Sequence[int], by: int) -> tuple[int, list[int]]:
    """Offset and counts at a scale that is lower `by` so much: of 2 ** by neighbours one bucket is made."""
    if not by or not counts:
        return offset, list(counts)
    first = offset >> by
    merged = [0] * (((offset + len(counts) - 1) >> by) - first + 1)
    for index, count in enumerate(counts, offset):
        merged[(index >> by) - first] += count
    return first, merged

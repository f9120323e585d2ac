"""Bodies in parts: what a backend makes of them when they have been put together."""

import gzip

import pytest

from otel_ebpf.export.body import Body


@pytest.mark.parametrize("parts", [(), (b"",), (b"one",), (b"one", b"", b"two" * 100_000, memoryview(b"three"))])
def test_gzip_of_the_parts_is_gzip_of_the_whole(parts: tuple[bytes, ...]) -> None:
    body = Body.of(*parts)
    whole = b"".join(parts)
    assert body.length == len(whole)
    for _ in range(2):
        packed = body.gzipped()
        sent = b"".join(packed.parts)
        assert len(sent) == packed.length
        assert gzip.decompress(sent) == whole

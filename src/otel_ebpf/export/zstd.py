"""zstd: Python's own from 3.14 on; before, that of PyPI's backports.zstd, which the extra `zstd` installs."""

import sys

from otel_ebpf.export.body import Body

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor
else:
    from backports.zstd import ZstdCompressor


def packed(body: Body) -> Body:
    """The same as one frame."""
    # Level 1: the higher ones take longer and gain nothing on spans.
    packer = ZstdCompressor(1)
    parts = [packer.compress(part) for part in body.parts]
    return Body.of(*filter(None, parts), packer.flush())

"""The libraries that programs of this machine load, whether one runs now or not: a `curl` is over in 50 ms."""

import stat
from collections.abc import Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Final

from otel_ebpf.discover.tls.mappings import MappedFile

_FOLDERS: Final = ("lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib", "usr/local/lib64")
_NAMES: Final = ("libssl.so.*", "libgnutls.so.*")
# The host's, from a container that shares its processes; and ours, which is the host's where there is none.
_ROOTS: Final = (Path("/proc/1/root"), Path("/"))


def system_libraries(roots: Sequence[Path] = _ROOTS) -> tuple[MappedFile, ...]:
    """TLS libraries in the folders that the dynamic linker looks into, each once."""
    found: dict[tuple[int, int], MappedFile] = {}
    for root, folder, name in product(roots, _FOLDERS, _NAMES):
        with suppress(OSError):
            for path in sorted([*(root / folder).glob(name), *(root / folder).glob(f"*-linux-gnu/{name}")]):
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    file = MappedFile(f"/{path.relative_to(root)}", str(path), status.st_dev, status.st_ino)
                    found.setdefault((file.device, file.inode), file)
    return tuple(found.values())

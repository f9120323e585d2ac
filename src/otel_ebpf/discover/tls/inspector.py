"""What TLS files have. It is kept, since hundreds of processes map the same libraries."""

import os
from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from typing import Final

from otel_ebpf.discover.tls.findings import Attachment, Finding
from otel_ebpf.discover.tls.mappings import MappedFile
from otel_ebpf.discover.tls.worker import Worker

_MAX_KEPT: Final = 1024

_Key = tuple[int, int, int, int]


class Inspector:
    """Looks at each file once, as long as it does not change. May be used from several threads."""

    def __init__(self, max_kept: int = _MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._worker = Worker()
        self._kept: OrderedDict[_Key, tuple[Finding, ...]] = OrderedDict()
        self._lock = Lock()

    def findings(self, file: MappedFile) -> tuple[Finding, ...]:
        """What TLS the file has, mostly none. OSError if it can't be opened, or is another one by now."""
        # O_NONBLOCK: whoever made the name may have put a FIFO there since.
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != (file.device, file.inode):
                raise FileNotFoundError(2, "another file has its name by now", file.path)
            key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            with self._lock:
                found = self._kept.get(key)
                if found is not None:
                    self._kept.move_to_end(key)
            if found is None:
                with self._lock:
                    found = self._worker.examine(descriptor)
                    self._kept[key] = found
                    while len(self._kept) > self._max_kept:
                        self._kept.popitem(last=False)
        finally:
            os.close(descriptor)
        return tuple(_of(file, each) for each in found)

    def rest(self) -> None:
        """Ends the worker; the next file that is not known yet starts another."""
        with self._lock:
            self._worker.end()


def _of(file: MappedFile, finding: Finding) -> Finding:
    if isinstance(finding, Attachment):
        return replace(finding, path=file.path, name=file.name, device=file.device, inode=file.inode)
    return replace(finding, path=file.path, name=file.name)

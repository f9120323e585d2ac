"""Standard output, written by a thread of its own: a paused terminal or a slow pipe holds up only itself.

The file descriptor is written to directly. Python's own buffer would be flushed once more at exit, which
blocks, or complains, exactly when the output is stuck or gone.
"""

import errno
import os
import select
import threading
import time
from typing import Final

from otel_ebpf.errors import OutputClosed, OutputError

_MAX_WAITING_BYTES: Final = 1 << 20
# A pipe without a reader; a terminal that hung up; a descriptor that was closed at start.
_GONE: Final = frozenset({errno.EPIPE, errno.EIO, errno.EBADF})


class Output:
    """Text in order, never blocking. Errors come out of `check` and `close`, on the caller's thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting = bytearray()
        self._changed = threading.Condition()
        self._error: OSError | None = None
        self._closing = False
        self._poll = select.poll()
        self._poll.register(descriptor, 0)  # errors are always reported
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)
        self._thread.start()

    def write(self, text: str) -> bool:
        """Queues text. False, and nothing queued, while a megabyte is waiting already."""
        with self._changed:
            if len(self._waiting) > _MAX_WAITING_BYTES:
                return False
            self._waiting += text.encode("utf-8", "backslashreplace")
            self._changed.notify_all()
            return True

    def check(self) -> None:
        """Raises OutputClosed if the reader is gone, even if nothing was written since; OutputError on errors."""
        with self._changed:
            error = self._error
        if error is None:
            # A regular file never reports; a pipe reports POLLERR once its last reader has closed it.
            if any(event & (select.POLLERR | select.POLLNVAL) for _, event in self._poll.poll(0)):
                raise OutputClosed("standard output was closed")
            return
        if error.errno in _GONE:
            raise OutputClosed("standard output was closed")
        raise OutputError(f"can't write to standard output: {error.strerror}")

    def close(self, timeout_s: float = 2.0) -> None:
        """Waits until all is written, as long as the reader takes any of it. Raises as `check` does."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        before = -1
        while self._thread.is_alive() and len(self._waiting) != before:
            before = len(self._waiting)
            self._thread.join(timeout_s)
        self.check()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                chunk = bytes(self._waiting[:65536])
            if not chunk:
                return
            try:
                written = os.write(self._descriptor, chunk)
            except BlockingIOError:  # shared with a program that made it non-blocking
                time.sleep(0.01)
                continue
            except OSError as error:
                with self._changed:
                    self._error = error
                    self._waiting.clear()
                return
            with self._changed:
                del self._waiting[:written]

"""A process's TLS, wherever its files are."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.testbed import tls

from otel_ebpf.discover.tls import Attachment, Finding, Inspector, describe
from otel_ebpf.discover.tls.inspect import examine
from otel_ebpf.discover.tls.worker import Worker
from otel_ebpf.errors import AgentError

LOAD = "import ctypes, os, sys; {before}; ctypes.CDLL({what}); {after}; print('ready', flush=True); sys.stdin.read()"


@contextmanager
def process(what: str, before: str = "", after: str = "", prefix: tuple[str, ...] = ()) -> Iterator[int]:
    """A Python that has loaded a library."""
    code = LOAD.format(what=what, before=before or "pass", after=after or "pass")
    command = [*prefix, sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stdin
        assert running.stdout.readline() == "ready\n"
        yield running.pid
        running.stdin.close()


def openssl(pid: int) -> Attachment:
    report = describe(pid)
    (attachment,) = [each for each in report.attachments if each.implementation == "openssl"]
    status = Path(attachment.path).stat()
    assert (status.st_dev, status.st_ino) == (attachment.device, attachment.inode)
    return attachment


def test_a_mapped_library() -> None:
    library = tls.libssl("3.0")
    with process(repr(str(library))) as pid:
        attachment = openssl(pid)
        assert attachment.name == str(library)
        assert attachment.path == f"/proc/{pid}/root{library}"


def test_a_deleted_file(tmp_path: Path) -> None:
    copy = tmp_path / "libssl.so"
    shutil.copy(tls.libssl("3.0"), copy)
    with process(repr(str(copy)), after=f"os.unlink({str(copy)!r})") as pid:
        attachment = openssl(pid)
        assert attachment.name == f"{copy} (deleted)"
        assert "/map_files/" in attachment.path


def test_a_replaced_file(tmp_path: Path) -> None:
    """As an upgrade does it: the name leads to another file now."""
    copy = tmp_path / "libssl.so"
    shutil.copy(tls.libssl("3.0"), copy)
    after = f"os.unlink({str(copy)!r}); open({str(copy)!r}, 'w').close()"
    with process(repr(str(copy)), after=after) as pid:
        assert "/map_files/" in openssl(pid).path


def test_a_file_without_a_name() -> None:
    library = str(tls.libssl("3.0"))
    before = f"fd = os.memfd_create('lib'); os.write(fd, open({library!r}, 'rb').read())"
    with process("f'/proc/self/fd/{fd}'", before=before) as pid:
        assert openssl(pid).name.startswith("/memfd:lib")


def test_another_mount_namespace(tmp_path: Path) -> None:
    """The file is on a file system that only the process has."""
    hidden = f"{tmp_path}/libssl.so"
    script = f'mount -t tmpfs tls {tmp_path} && cp {tls.libssl("3.0")} {hidden} && exec "$@"'
    with process(repr(hidden), prefix=("unshare", "--mount", "sh", "-c", script, "sh")) as pid:
        assert not Path(hidden).exists()
        assert openssl(pid).path == f"/proc/{pid}/root{hidden}"


def test_each_file_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[tuple[int, int]] = []

    def examined(_: Worker, descriptor: int) -> tuple[Finding, ...]:
        status = os.fstat(descriptor)
        looked.append((status.st_dev, status.st_ino))
        return examine(descriptor)

    monkeypatch.setattr(Worker, "examine", examined)
    inspector = Inspector()
    with process(repr(str(tls.libssl("3.0")))) as one, process(repr(str(tls.libssl("3.0")))) as another:
        first, second = describe(one, inspector), describe(another, inspector)
    assert first.attachments[0].probes == second.attachments[0].probes
    assert first.attachments[0].path != second.attachments[0].path
    assert len(looked) == len(set(looked)) > 1


def test_what_is_kept_has_a_bound() -> None:
    inspector = Inspector(max_kept=2)
    describe(os.getpid(), inspector)
    assert len(inspector._kept) == 2
    inspector.rest()


def test_no_such_process() -> None:
    with pytest.raises(AgentError, match="there is no process"):
        describe(2**22 + 1)


def test_a_kernel_thread_has_nothing() -> None:
    kernel_threads = [
        int(each.name)
        for each in Path("/proc").iterdir()
        if each.name.isdigit() and each.name != "1" and not (each / "cmdline").read_bytes()
    ]
    if not kernel_threads:
        pytest.skip("no kernel thread is visible here")
    assert describe(kernel_threads[0]).findings == ()

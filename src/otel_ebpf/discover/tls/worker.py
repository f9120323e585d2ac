"""A process of its own looks into the files: they are anybody's, and a disassembler costs 9 MB.

    agent ── file descriptor ──► worker (nobody, no other file, little memory and time)
          ◄── findings, JSON ───

It is started when a file comes that is not known yet, and ended when there was none for a while.
"""

import contextlib
import ctypes
import json
import os
import resource
import socket
import subprocess
import sys
from dataclasses import asdict
from typing import Any, Final

from otel_ebpf.discover.tls.findings import UNKNOWN, Attachment, Finding, Probe, Refusal

_PATIENCE_S: Final = 20.0
_MAX_ANSWER: Final = 1 << 20
_MAX_MEMORY_BYTES: Final = 1 << 30
_NOBODY: Final = 65534


class Worker:
    """For one thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def examine(self, descriptor: int) -> tuple[Finding, ...]:
        """What `inspect.examine` finds in the open file. A worker that dies over it is a finding too."""
        try:
            channel = self._channel or self._start()
            socket.send_fds(channel, [b"?"], [descriptor])
            answer = channel.recv(_MAX_ANSWER)
            if not answer:
                raise ConnectionResetError("it ended")
            return _read(answer)
        except (OSError, ValueError, TypeError, KeyError) as error:
            self.end()
            return (Refusal(UNKNOWN, f"could not be looked into: {str(error) or type(error).__name__}"),)

    def end(self) -> None:
        """Ends the process, if there is one."""
        if self._channel:
            self._channel.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._process = self._channel = None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_PATIENCE_S)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _MAX_ANSWER)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_ANSWER)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "otel_ebpf.discover.tls.worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
            )
        self._channel = ours
        return ours


def _read(answer: bytes) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    for row in json.loads(answer):
        if "reason" in row:
            findings.append(Refusal(**row))
            continue
        probes = tuple(Probe(**probe) for probe in row.pop("probes"))
        lists: dict[str, Any] = {name: tuple(row.pop(name)) for name in ("random_path", "notes")}
        findings.append(Attachment(probes=probes, **lists, **row))
    return tuple(findings)


def main() -> None:
    """Answers until the agent is gone. Standard input is the socket."""
    from otel_ebpf.discover.tls.inspect import examine  # noqa: PLC0415 - what makes this process worth having

    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):  # without CAP_SETUID it stays who it is, with no capability
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
    _drop_capabilities()
    with socket.socket(fileno=0) as channel:
        while True:
            asked, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
            if not asked:
                return
            for descriptor in descriptors:
                findings = examine(descriptor)
                os.close(descriptor)
                channel.send(json.dumps([asdict(finding) for finding in findings]).encode())


def _drop_capabilities() -> None:
    """All of them: a service of an ordinary user hands its own on to what it starts (capset(2), version 3)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    none = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, ConnectionError):
        main()

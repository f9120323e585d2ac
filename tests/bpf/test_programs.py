"""The programs in the kernel: what they cost to load, whom they see, and that nothing of them stays."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from otel_ebpf import _native
from otel_ebpf._native import Line, Session
from tests.bpf import objects, talk
from tests.testbed import wire
from tests.testbed.process import Program, eventually

# The verifier gives up at 1,000,000, and what it walks through is most of the time that a start takes. The largest
# program needs about 74,000 today, HTTP/1 and HTTP/2: more than this needs a reason, or another way to write it.
MOST_VERIFIED_INSTRUCTIONS = 90_000

# Loaded, and attached once there is a library to probe.
PROBES = {"tls_enter", "tls_exit", "tls_free"}

HOLD = "import time; from otel_ebpf._native import Session; s = Session(); print('up', flush=True); time.sleep(600)"


def test_the_hooks_are_the_probed_ones() -> None:
    with Session() as session:
        assert session.hooks == _native.probe_hooks()
        names = {program.name for program in session.program_stats()}
    common = {"inet_sock_set_state", "sched_process_exec", "sched_process_exit", *PROBES}
    assert common < names
    if session.hooks == "sock_length":
        assert names - common == {"sock_send_length", "sock_recv_length"}
    else:
        assert "sock_recvmsg_exit" in names


def test_loading_takes_no_time_to_speak_of() -> None:
    took = []
    for _ in range(3):  # others use this machine too
        begin = time.monotonic()
        with Session():
            took.append(time.monotonic() - begin)
        if took[-1] < 3:
            break
    assert min(took) < 3, took


def test_verification_does_not_grow_unseen(capsys: pytest.CaptureFixture[str]) -> None:
    with Session() as session:
        programs = objects.programs_of(os.getpid())
        assert {program.name for program in programs} >= {program.name for program in session.program_stats()}
    with capsys.disabled():
        print("\nverified instructions:", ", ".join(f"{p.name} {p.verified_insns:,}" for p in programs))
    too_many = [program for program in programs if program.verified_insns > MOST_VERIFIED_INSTRUCTIONS]
    assert not too_many


def test_nothing_is_pinned_and_nothing_stays_after_close() -> None:
    before = objects.held_by(os.getpid())
    session = Session()
    ours = objects.held_by(os.getpid()) - before
    kinds = Counter(kind for kind, _ in ours)
    assert kinds["prog"] - len(PROBES) == kinds["link"] >= 5
    assert kinds["map"] >= 7
    assert not ours & objects.pinned()
    session.close()
    session.close()  # once more does no harm
    attached = {each for each in ours if each[0] != "map"}
    eventually(lambda: not attached & objects.loaded(), "no program and no link stays", 5)
    assert session.counters()["requests.seen"] >= 0  # its last counts can still be read; the maps stay for them
    del session
    eventually(lambda: not ours & objects.loaded(), "the kernel has let go of all of it", 5)


def test_nothing_stays_of_a_session_that_was_killed(tmp_path: Path) -> None:
    with Program([sys.executable, "-c", HOLD], tmp_path, "holder") as holder:
        holder.wait_until(lambda: "up" in holder.stdout, "has loaded its programs")
        theirs = objects.held_by(holder.pid)
        assert theirs <= objects.loaded()
        assert not theirs & objects.pinned()
        holder.end(signal.SIGKILL)
        eventually(lambda: not theirs & objects.loaded(), "the kernel has let go of all of it", 5)


def test_two_sessions_see_the_same() -> None:
    with talk.roomy_session() as one, talk.roomy_session() as two:
        assert one.hooks == two.hooks
        told = talk.run("pipelined")
        for session in (one, two):
            talk.assert_heard(session, told)
        one.close()
        told = talk.run("pipelined")
        talk.assert_heard(two, told)


def test_a_session_does_not_see_its_own_process(session: Session) -> None:
    seen: list[Line] = []

    def handle(conn: socket.socket) -> None:
        while wire.read_head(conn):
            conn.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with wire.serving(handle) as (host, port):
        with wire.Connection((host, port)) as conn:
            for _ in range(3):
                conn.send(wire.request("GET", "/self"))
                conn.answer()
        command = ["curl", "-s", "-o", "/dev/null", f"http://{host}:{port}/other"]
        subprocess.run(command, check=True)

        def curl_is_seen() -> bool:
            session.flush()
            seen.extend(line for line in session.take_lines(100_000) if line.server.endswith(f":{port}"))
            return bool(seen)

        eventually(curl_is_seen, "another process's end of a conversation with this one is seen", 5)
    assert [(line.role, line.target) for line in seen] == [("client", "/other")]
    assert os.getpid() not in {process.tgid for process in session.take_processes()}

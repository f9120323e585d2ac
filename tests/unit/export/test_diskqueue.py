"""What was appended comes out once and in order, whatever happens to process and files; what is lost is counted."""

import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ebpf.config.settings import Queue
from otel_ebpf.errors import ConfigError
from otel_ebpf.export.body import Body
from otel_ebpf.export.diskqueue import DiskQueue
from otel_ebpf.export.queues import Queues
from otel_ebpf.export.segment import HEADER_BYTES, RECORD_BYTES

MIB = 1 << 20


def opened(folder: Path, max_bytes: int = 64 * MIB, max_age_s: float = 3600) -> DiskQueue:
    return DiskQueue(folder, "traces", max_bytes, max_age_s)


def put(queue: DiskQueue, *texts: str, items: int = 10) -> None:
    for text in texts:
        queue.announce(items)
        queue.append(Body.of(text.encode(), b"!"), items)


def taken(queue: DiskQueue, count: int = -1) -> Iterator[str]:
    """Delivers so many, or all."""
    while count and (record := queue.take()):
        yield b"".join(bytes(part) for part in record.body.parts).decode().removesuffix("!")
        queue.finish(record)
        count -= 1


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.queue"))


def test_first_in_first_out_and_then_nothing(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    put(queue, "a", "b", "c")
    assert queue.level().items == 30
    assert list(taken(queue)) == ["a", "b", "c"]
    assert queue.take() is None
    assert (queue.level().items, queue.level().dropped) == (0, {})


def test_what_was_not_delivered_is_the_next_runs(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    put(queue, "a", "b", "c")
    assert list(taken(queue, 1)) == ["a"]
    queue.close()
    after = opened(tmp_path)
    assert (after.level().recovered, after.level().items) == (20, 20)
    put(after, "d")
    assert list(taken(after)) == ["b", "c", "d"]
    after.close()
    assert segments(tmp_path) == []
    assert opened(tmp_path).level().recovered == 0


def test_a_kill_loses_nothing_that_was_appended_and_the_rest_is_counted(tmp_path: Path) -> None:
    """A real process with a real SIGKILL: 3 appended, 1 delivered; 7 spans were still in its memory."""
    script = f"""
import os, signal
from pathlib import Path
from otel_ebpf.export.body import Body
from otel_ebpf.export.diskqueue import DiskQueue
queue = DiskQueue(Path({str(tmp_path)!r}), "traces", 1 << 20, 60.0)
queue.note_waiting(12)
for text in (b"a", b"b", b"c"):
    queue.announce(10)
    queue.append(Body.of(text), 10)
queue.finish(queue.take())
queue.note_waiting(4)
queue.announce(3)
queue.note_waiting(4)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    queue = opened(tmp_path)
    assert queue.level().dropped == {"killed": 7}
    assert queue.level().recovered == 27
    assert list(taken(queue)) == ["b", "c"]
    queue.close()
    assert opened(tmp_path).level().recovered == 0


def test_what_is_being_sent_at_the_end_is_sent_again(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    put(queue, "a")
    assert queue.take()
    queue.close()
    assert list(taken(opened(tmp_path))) == ["a"]


def test_a_request_given_back_is_the_next_again(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    put(queue, "a", "b")
    record = queue.take()
    assert record
    queue.give_back(record)
    assert list(taken(queue)) == ["a", "b"]


@pytest.mark.parametrize("cut", [1, RECORD_BYTES - 1, RECORD_BYTES, RECORD_BYTES + 1])
def test_a_cut_tail_is_dropped_and_counted(tmp_path: Path, cut: int) -> None:
    queue = opened(tmp_path)
    put(queue, "a", "b", "c")
    [file] = segments(tmp_path)
    os.truncate(file, file.stat().st_size - cut)
    after = opened(tmp_path)
    assert after.level().dropped == {"corrupt": 10}
    assert (after.level().recovered, after.level().items) == (30, 20)
    put(after, "d")
    assert list(taken(after)) == ["a", "b", "d"]


def test_every_flipped_bit_costs_no_more_than_it_must(tmp_path: Path) -> None:
    """In a body: that request. In a head: what is behind it too. Never another's content, never a wrong count."""
    queue = opened(tmp_path)
    put(queue, "a", "b", "c")
    [file] = segments(tmp_path)
    whole, state, record = file.read_bytes(), (tmp_path / "state").read_bytes(), RECORD_BYTES + 2
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        for old in segments(tmp_path):
            old.unlink()
        file.write_bytes(damaged)
        (tmp_path / "state").write_bytes(state)
        after = opened(tmp_path)
        number, within = divmod(at - HEADER_BYTES, record)
        if at < HEADER_BYTES:
            left = []
        elif within < RECORD_BYTES:
            left = ["a", "b", "c"][:number]
        else:
            left = [text for index, text in enumerate(("a", "b", "c")) if index != number]
        assert list(taken(after)) == left, at
        assert after.level().dropped == {"corrupt": 30 - 10 * len(left)}, at
        assert after.level().recovered == 30
        after.close()


def test_damage_that_comes_while_it_runs_is_counted(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    put(queue, "a", "b", "c")
    with segments(tmp_path)[0].open("r+b") as file:
        file.seek(HEADER_BYTES + 5)
        file.write(b"\xff")
    assert list(taken(queue)) == []
    put(queue, "d")
    assert list(taken(queue)) == ["d"]
    assert queue.level().dropped == {"corrupt": 30}


def test_a_damaged_state_delivers_twice_rather_than_never(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    put(queue, "a", "b")
    list(taken(queue, 1))
    state = tmp_path / "state"
    slots = bytearray(state.read_bytes())
    newer = 512 if struct.unpack_from("<Q", slots, 512)[0] > struct.unpack_from("<Q", slots, 0)[0] else 0
    slots[newer + 3] ^= 1
    state.write_bytes(slots)
    assert list(taken(opened(tmp_path))) == ["a", "b"]
    state.write_bytes(b"\0" * len(slots))
    put(opened(tmp_path), "c")
    state.write_bytes(b"")
    assert list(taken(opened(tmp_path))) == ["c"]


def test_at_its_bound_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    queue = opened(tmp_path, max_bytes=MIB)
    text = "x" * 50_000
    put(queue, *(f"{number:03}{text}" for number in range(100)))
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= MIB
    left = [int(each[:3]) for each in taken(queue)]
    assert left == list(range(100 - len(left), 100))
    assert len(left) >= 16  # the bound is made use of
    assert queue.level().dropped == {"queue_size": 10 * (100 - len(left))}


def test_what_is_larger_than_the_queue_is_counted(tmp_path: Path) -> None:
    queue = opened(tmp_path, max_bytes=MIB)
    put(queue, "a", "x" * MIB, "b")
    assert list(taken(queue)) == ["a", "b"]
    assert queue.level().dropped == {"queue_size": 10}


@pytest.mark.parametrize("arrives", [True, False])
def test_a_request_that_is_being_sent_when_its_turn_to_go_comes(tmp_path: Path, arrives: bool) -> None:
    queue = opened(tmp_path, max_bytes=MIB)
    text = "x" * 100_000
    put(queue, "first" + text)
    record = queue.take()
    assert record
    put(queue, *(f"{number:03}{text}" for number in range(20)))
    assert queue.level().on_their_way == 10
    lost = queue.level().dropped["queue_size"]
    (queue.finish if arrives else queue.give_back)(record)
    assert queue.level().on_their_way == 0
    assert queue.level().dropped["queue_size"] == lost + (0 if arrives else 10)
    assert lost + 10 + 10 * len(list(taken(queue))) == 210


def test_what_is_too_old_goes_and_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_800_000_000
    monkeypatch.setattr("otel_ebpf.export.diskqueue.time.time_ns", lambda: now_s * 10**9)
    queue = opened(tmp_path, max_age_s=60)
    put(queue, "a", "b")
    now_s += 50
    put(queue, "c")
    now_s += 11
    queue.expire()
    assert queue.level().dropped == {"queue_age": 20}
    assert list(taken(queue)) == ["c"]
    put(queue, "d")
    now_s += 61
    assert queue.take() is None
    assert queue.level().dropped == {"queue_age": 30}


def test_a_full_disk_takes_nothing_and_spoils_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stops a write in its middle, as a full disk does."""
    queue = opened(tmp_path)
    put(queue, "a")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        queue.announce(10)
        with pytest.raises(OSError, match="File too large"):
            queue.append(Body.of(b"x" * 10_000), 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (queue.level().items, queue.level().on_their_way) == (10, 10)
    queue.settle(10)
    put(queue, "b")
    assert list(taken(opened(tmp_path))) == ["a", "b"]


def test_requests_of_many_parts(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    parts = [bytes([number % 256]) * (number % 7) for number in range(5000)]
    queue.announce(1)
    queue.append(Body.of(*parts), 1)
    record = queue.take()
    assert record
    assert bytes(record.body.parts[0]) == b"".join(parts)


def test_no_descriptor_and_no_file_is_left_behind(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    queue = opened(tmp_path, max_bytes=MIB)
    for number in range(60):
        put(queue, f"{number}" + "x" * 50_000)
        if number % 2:
            list(taken(queue, 2))
        queue.sync()
    queue.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_newer_versions_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    head = b"OTELQUE1" + (7).to_bytes(4, "little")
    file = tmp_path / f"{1:020d}.queue"
    file.write_bytes(head + zlib.crc32(head).to_bytes(4, "little") + b"what comes then")
    with pytest.raises(ConfigError, match=r"newer otel-ebpf: its format is 7, this one reads up to 1"):
        opened(tmp_path)
    assert file.read_bytes().endswith(b"what comes then")


def test_a_directory_is_one_agents_and_nobody_elses_to_read(tmp_path: Path) -> None:
    settings = Queue(str(tmp_path / "deep" / "queue"))
    queues = Queues(settings, ["traces"])
    assert (tmp_path / "deep/queue").stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigError, match=rf"in use by another otel-ebpf \(pid {os.getpid()}\)"):
        Queues(settings, ["traces"])
    first = queues.get("traces")
    assert first
    put(first, "a")
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*") if path.name != "deep")
    first.close()
    queues.close()
    again = Queues(settings, ["traces", "metrics"]).get("traces")
    assert again
    assert list(taken(again)) == ["a"]


def test_a_directory_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="queue directory .*file/queue"):
        Queues(Queue(str(tmp_path / "file" / "queue")), ["traces"])

"""Standard output that is slow, full or gone."""

import os
import time

import pytest

from otel_ebpf.errors import OutputClosed, OutputError
from otel_ebpf.export.output import Output


def wait_for_trouble(output: Output, seconds: float = 3) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        output.check()
        time.sleep(0.01)


def test_everything_arrives_in_order() -> None:
    reading, writing = os.pipe()
    output = Output(writing)
    text = "".join(f"line {index} é\n" for index in range(3000))
    output.write(text)
    output.close()
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as file:
        assert file.read() == text


def test_a_reader_that_went_away_is_noticed_even_if_nothing_is_written() -> None:
    reading, writing = os.pipe()
    output = Output(writing)
    output.check()
    os.close(reading)
    with pytest.raises(OutputClosed) as closed:
        output.check()
    assert closed.value.exit_code == 0
    output.write("x")
    with pytest.raises(OutputClosed):
        output.close()
    os.close(writing)


def test_a_full_disk_is_named() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    output = Output(descriptor)
    output.write("x\n")
    with pytest.raises(OutputError, match="can't write to standard output: No space left on device") as full:
        wait_for_trouble(output)
    assert full.value.exit_code == 5
    os.close(descriptor)


def test_a_reader_that_takes_nothing_holds_nobody_up() -> None:
    reading, writing = os.pipe()
    output = Output(writing)
    began = time.monotonic()
    taken = sum(output.write("x" * 100_000) for _ in range(50))
    assert 5 < taken < 20
    output.close(timeout_s=0.1)
    assert time.monotonic() - began < 2
    os.close(reading)
    time.sleep(0.1)
    os.close(writing)


def test_a_pipe_that_another_program_made_non_blocking() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    output = Output(writing)
    output.write("x" * 300_000)
    time.sleep(0.05)
    got = 0
    while got < 300_000:
        got += len(os.read(reading, 65536))
    output.close()
    os.close(reading)
    os.close(writing)

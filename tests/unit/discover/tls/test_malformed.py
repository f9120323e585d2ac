"""Files are of other people's making: whatever is in them, there is an answer, and soon."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.testbed import tls

from otel_ebpf.discover.tls.inspect import examine

SOURCE = """
#include <string.h>
struct ssl { long first; struct { char pad[184]; unsigned char random[32]; } *s3; };
extern void elsewhere(void *);
unsigned long SSL_get_client_random(const struct ssl *s, unsigned char *out, unsigned long n)
{ if (n > 32) n = 32; memcpy(out, s->s3->random, n); return n; }
int __attribute__((noinline)) internal(void *s, char *b, long n, long *r) { elsewhere(s); b[n] = 0; *r = n; return 1; }
int SSL_read(void *s, void *b, int n) { long r; int i = internal(s, b, n, &r); return i > 0 ? (int) r : i; }
int SSL_read_ex(void *s, void *b, long n, long *r) { int i = internal(s, b, n, r); return i < 0 ? 0 : i; }
int SSL_write(void *s, char *b, int n) { elsewhere(b); return b[n] ? n : -1; }
void SSL_free(void *s) { if (s) elsewhere(s); }
"""
LONGEST_S = 2.0


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tls.shared_object(SOURCE, tmp_path_factory.mktemp("elf")).read_bytes()


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "scratch", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def answers(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)
    began = time.monotonic()
    examine(descriptor)
    assert time.monotonic() - began < LONGEST_S


def test_it_is_a_real_one(library: bytes, scratch: int) -> None:
    os.pwrite(scratch, library, 0)
    (finding,) = examine(scratch)
    assert finding.implementation == "openssl"
    assert getattr(finding, "random_path", None) == (8, 184)


def test_cut_short_anywhere(library: bytes, scratch: int) -> None:
    for size in range(0, len(library), 64):
        answers(scratch, library[:size])


def test_any_byte_may_be_another(library: bytes, scratch: int) -> None:
    source = random.Random(4)
    for _ in range(1500):
        broken = bytearray(library)
        for _ in range(source.choice((1, 1, 4, 32))):
            broken[source.randrange(len(broken))] = source.randrange(256)
        answers(scratch, bytes(broken))


def test_any_header_may_hold_extremes(library: bytes, scratch: int) -> None:
    """Each 64-bit word of the ELF header, the program headers and the section headers in turn."""
    sections = int.from_bytes(library[40:48], "little")
    for at in (*range(16, 64 + 12 * 56, 8), *range(sections, len(library) - 8, 8)):
        for value in (0, 1, 2**31, 2**63, 2**64 - 1):
            answers(scratch, library[:at] + value.to_bytes(8, "little") + library[at + 8 :])


def test_a_hole_of_a_gigabyte_takes_no_longer(library: bytes, scratch: int) -> None:
    """Sections may claim to be as large as the file is, and a file costs nothing."""
    sections = int.from_bytes(library[40:48], "little")
    os.pwrite(scratch, library, 0)
    os.ftruncate(scratch, 1 << 30)
    for at in range(sections + 32, len(library) - 8, 64):
        for size in (30 << 20, 120 << 20, 1 << 29):
            os.pwrite(scratch, size.to_bytes(8, "little"), at)
            began = time.monotonic()
            examine(scratch)
            assert time.monotonic() - began < 2 * LONGEST_S
        os.pwrite(scratch, library[at : at + 8], at)


def test_gos_tables_may_be_broken(scratch: int) -> None:
    content = tls.go_tls("stripped").read_bytes()
    table = content.find(b"\xf1\xff\xff\xff\0\0\1\x08")
    source = random.Random(5)
    os.pwrite(scratch, content, 0)
    for at in (*range(table, table + 72), *(source.randrange(table, len(content)) for _ in range(100))):
        os.pwrite(scratch, bytes([source.randrange(256)]), at)
        began = time.monotonic()
        examine(scratch)
        assert time.monotonic() - began < LONGEST_S
        os.pwrite(scratch, content[at : at + 1], at)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n", bytes(4096)])
def test_no_elf_at_all(content: bytes, scratch: int) -> None:
    os.pwrite(scratch, content, 0)
    (finding,) = examine(scratch)
    assert "not an ELF file" in getattr(finding, "reason", "")


def test_another_machine(library: bytes, scratch: int) -> None:
    os.pwrite(scratch, library[:18] + (183).to_bytes(2, "little") + library[20:], 0)  # EM_AARCH64
    (finding,) = examine(scratch)
    assert "another machine" in getattr(finding, "reason", "")

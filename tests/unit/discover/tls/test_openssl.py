"""OpenSSL as it is on this machine, in older and newer versions, and inside node."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.testbed import cache, tls

from otel_ebpf.discover.tls.findings import Attachment, Refusal
from otel_ebpf.discover.tls.inspect import examine

VERSIONS = ("1.1", "3.0", "3.5")


def found(path: Path) -> Attachment:
    with path.open("rb") as file:
        (finding,) = examine(file.fileno())
    assert isinstance(finding, Attachment), finding
    return finding


@pytest.mark.parametrize("version", VERSIONS)
def test_one_cheap_probe_each_way_serves_all_functions(version: str) -> None:
    attachment = found(tls.libssl(version))
    assert attachment.implementation == "openssl"
    assert attachment.version.startswith(version)
    assert all(probe.emulated for probe in attachment.probes)
    places = {(probe.function, probe.place) for probe in attachment.probes}
    write = "SSL_write_ex2" if version == "3.5" else "SSL_write_ex"
    assert {("SSL_read_ex", "enter"), ("SSL_read_ex", "return"), (write, "enter"), (write, "return")} <= places
    assert ("SSL_free", "enter") in places
    assert not [function for function, _ in places if "peek" in function]
    assert not attachment.notes


def test_node() -> None:
    attachment = found(Path(cache.tool("node", "nodejs")).resolve())
    places = {(probe.function, probe.place) for probe in attachment.probes}
    assert {("SSL_read", "enter"), ("SSL_write", "enter"), ("SSL_free", "enter")} <= places
    assert all(probe.emulated for probe in attachment.probes)
    assert attachment.random_path


@pytest.mark.parametrize("version", VERSIONS)
def test_offsets_are_of_instructions(version: str, tmp_path: Path) -> None:
    """objdump, asked for the code at each offset, sees the same instruction there."""
    library = tls.libssl(version)
    listing = subprocess.run(
        [cache.tool("objdump", "binutils"), "-d", "-M", "intel", "--no-show-raw-insn", "-F", str(library)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    at = {}
    shift = 0
    for line in listing.splitlines():
        if head := re.match(r"([0-9a-f]+) <.*> \(File Offset: (0x[0-9a-f]+)\):$", line):
            shift = int(head[1], 16) - int(head[2], 16)
        elif line.startswith(" ") and ":\t" in line:
            address, _, text = line.partition(":\t")
            at[int(address, 16) - shift] = text.split()[0]
    for probe in found(library).probes:
        assert at[probe.offset] == probe.instruction.split()[0]


HANDSHAKE = """
import ctypes, json, sys
crypto, ssl_library, is_server, *path = sys.argv[1:]
ctypes.CDLL(crypto, ctypes.RTLD_GLOBAL)
lib = ctypes.CDLL(ssl_library)
crypto = ctypes.CDLL(crypto)
for function in (lib.TLS_client_method, lib.SSL_CTX_new, lib.SSL_new, crypto.BIO_new, crypto.BIO_s_mem):
    function.restype = ctypes.c_void_p
pointer = ctypes.c_void_p
ssl = lib.SSL_new(pointer(lib.SSL_CTX_new(pointer(lib.TLS_client_method()))))
read, write = (crypto.BIO_new(pointer(crypto.BIO_s_mem())) for _ in range(2))
lib.SSL_set_bio(pointer(ssl), pointer(read), pointer(write))
servers = []
for set_state in (lib.SSL_set_accept_state, lib.SSL_set_connect_state):
    set_state(pointer(ssl))
    servers.append(ctypes.c_int.from_address(ssl + int(is_server)).value)
lib.SSL_do_handshake(pointer(ssl))
hello = ctypes.create_string_buffer(4096)
size = crypto.BIO_read(pointer(write), hello, 4096)
*derefs, last = map(int, path)
at = ssl
for offset in derefs:
    at = ctypes.c_uint64.from_address(at + offset).value
print(json.dumps([hello.raw[:size].hex(), ctypes.string_at(at + last, 32).hex(), servers]))
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_an_object_keeps_things_where_it_is_said_to(version: str) -> None:
    """A handshake in a process of its own: what is in memory there is what the ClientHello carried."""
    library = tls.libssl(version)
    if version in tls.WHEELS:
        crypto = next(library.parent.glob("libcrypto-*"))
    else:
        crypto = tls.debian_library("libcrypto.so.3", "libssl3")
    attachment = found(library)
    assert attachment.random_path
    assert attachment.is_server
    layout = [str(offset) for offset in (attachment.is_server, *attachment.random_path)]
    done = subprocess.run(
        [sys.executable, "-c", HANDSHAKE, str(crypto), str(library), *layout],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    hello, random, servers = json.loads(done.stdout)
    record = bytes.fromhex(hello)
    assert record[0] == 22  # RFC 8446, 5.1: a handshake record
    assert record[5] == 1  # 4: its ClientHello
    assert record[11:43].hex() == random
    assert servers == [1, 0]


SOURCE = """
extern int elsewhere(void *);
int SSL_read(void *s, void *b, int n) { return elsewhere(b) > n ? 1 : -1; }
int SSL_write(void *s, void *b, int n) { return elsewhere(b) < n ? 1 : -1; }
"""


def test_without_a_known_layout_the_rest_is_still_found(tmp_path: Path) -> None:
    attachment = found(tls.shared_object(SOURCE, tmp_path))
    assert attachment.random_path == ()
    assert "unknown layout" in attachment.notes[0]


def test_stripped_static_copies_are_refused_with_a_reason(tmp_path: Path) -> None:
    source = 'const char *where(void) { return "third_party/boringssl/src/ssl/ssl_lib.cc"; }'
    with tls.shared_object(source, tmp_path).open("rb") as file:
        (refusal,) = examine(file.fileno())
    assert isinstance(refusal, Refusal)
    assert refusal.implementation == "boringssl"
    assert "stripped" in refusal.reason


def test_a_file_without_tls_has_nothing() -> None:
    with Path(shutil.which("true") or "/bin/true").open("rb") as file:
        assert examine(file.fileno()) == ()

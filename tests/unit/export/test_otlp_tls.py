"""TLS on both of OTLP's ways: whom it trusts, what it shows, and certificates that are replaced while it runs."""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.testbed import cache
from tests.testbed.authority import Pair, authority, issue
from tests.testbed.process import free_port
from tests.unit import backend as over_http
from tests.unit import grpc_backend as over_grpc

from otel_ebpf.config.settings import OtlpTarget, Protocol
from otel_ebpf.errors import ConfigError, TemporaryExportError
from otel_ebpf.export.body import Body
from otel_ebpf.export.otlp import OtlpClient, RetryPolicy
from otel_ebpf.export.transport import TRACES

PROTOCOLS: tuple[Protocol, ...] = ("http/protobuf", "grpc")
PATIENT = RetryPolicy(first_s=0.01, longest_s=0.2, give_up_s=5)
QUICK = RetryPolicy(first_s=0.01, longest_s=0.02, give_up_s=0.2)
BODY = Body.of(b"x")


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    """The one of before, and the one of after."""
    return authority(tmp_path_factory.mktemp("old"), "old"), authority(tmp_path_factory.mktemp("new"), "new")


@pytest.fixture(scope="module")
def issued(authorities: tuple[Pair, Pair]) -> tuple[tuple[Pair, Pair], tuple[Pair, Pair]]:
    """For each: a server's, and a client's."""
    old, new = ((issue(each, "server"), issue(each, "client")) for each in authorities)
    return old, new


@contextmanager
def backend(protocol: Protocol, server: Pair, clients: Pair, port: int) -> Iterator[list[str]]:
    """One that wants certificates which `clients` has issued. Yields the connections of its requests."""
    connections: list[str] = []
    with contextlib.ExitStack() as stack:
        if protocol == "grpc":
            credentials = grpc.ssl_server_credentials([server.pem], clients.certificate.read_bytes(), True)
            calls = stack.enter_context(over_grpc.running_backend(credentials=credentials, port=port)).calls
            yield connections
            connections += [call.connection for call in calls]
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(server.certificate, server.key)
            context.load_verify_locations(clients.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
            requests = stack.enter_context(over_http.running_backend(tls=context, port=port)).requests
            yield connections
            connections += [str(request.connection) for request in requests]


def client(protocol: Protocol, port: int, policy: RetryPolicy = PATIENT, **files: Any) -> OtlpClient:
    target = OtlpTarget(f"https://127.0.0.1:{port}", protocol, **files)
    return OtlpClient(target, TRACES, threading.Event(), policy)


def files_of(ca: Path, pair: Pair) -> dict[str, Any]:
    return {
        "ca_file": str(ca),
        "client_certificate_file": str(pair.certificate),
        "client_key_file": str(pair.key),
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_both_sides_want_to_see_whom_they_trust(
    protocol: Protocol,
    authorities: tuple[Pair, Pair],
    issued: tuple[tuple[Pair, Pair], tuple[Pair, Pair]],
    tmp_path: Path,
) -> None:
    (old, new), ((server, mine), (_, foreign)) = authorities, issued
    port = free_port()
    both = tmp_path / "both.pem"
    both.write_bytes(mine.certificate.read_bytes() + mine.key.read_bytes())
    with backend(protocol, server, old, port) as connections:
        sending = client(protocol, port, **files_of(old.certificate, mine))
        assert [sending.send(BODY), sending.send(BODY)] == [0, 0]
        in_one = client(protocol, port, ca_file=str(old.certificate), client_certificate_file=str(both))
        assert in_one.send(BODY) == 0
        for files in (
            files_of(new.certificate, mine),
            files_of(old.certificate, foreign),
            {"ca_file": str(old.certificate)},
            {},
        ):
            with pytest.raises(TemporaryExportError):
                client(protocol, port, QUICK, **files).send(BODY)
    assert len(connections) == 3
    assert len(set(connections)) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_without_authorities_of_its_own_it_trusts_the_machines(
    protocol: Protocol,
    authorities: tuple[Pair, Pair],
    issued: tuple[tuple[Pair, Pair], tuple[Pair, Pair]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (old, new), ((server, mine), _) = authorities, issued
    port = free_port()
    shown: dict[str, Any] = {"client_certificate_file": str(mine.certificate), "client_key_file": str(mine.key)}
    with backend(protocol, server, old, port) as connections:
        monkeypatch.setenv("SSL_CERT_FILE", str(new.certificate))
        with pytest.raises(TemporaryExportError):
            client(protocol, port, QUICK, **shown).send(BODY)
        monkeypatch.setenv("SSL_CERT_FILE", str(old.certificate))
        assert client(protocol, port, **shown).send(BODY) == 0
    assert len(connections) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_files_that_are_replaced_are_read_anew(
    protocol: Protocol,
    authorities: tuple[Pair, Pair],
    issued: tuple[tuple[Pair, Pair], tuple[Pair, Pair]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (old, new), ((old_server, old_client), (new_server, new_client)) = authorities, issued
    ca, mine = tmp_path / "ca.pem", Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    ca.write_bytes(old.certificate.read_bytes())
    mine.replace(old_client)
    port = free_port()
    sending = client(protocol, port, **files_of(ca, mine))
    with backend(protocol, old_server, old, port) as connections:
        sending.send(BODY)
        # Half of it: the certificate is there and its key is not yet.
        mine.certificate.write_bytes(new_client.certificate.read_bytes())
        sending.send(BODY)
        sending.send(BODY)
        ca.unlink()
        sending.send(BODY)
    assert len(connections) == 4
    assert len(set(connections)) == 1
    told = [record.getMessage() for record in caplog.records if "stays in use" in record.getMessage()]
    assert len(told) == 2, "once for each state of the files"

    mine.replace(new_client)
    ca.write_bytes(new.certificate.read_bytes())
    with backend(protocol, new_server, new, port) as connections:
        sending.send(BODY)
        sending.send(BODY)
    assert len(connections) == 2
    assert len(set(connections)) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_link_to_another_folder_is_a_change_too(
    protocol: Protocol,
    authorities: tuple[Pair, Pair],
    issued: tuple[tuple[Pair, Pair], tuple[Pair, Pair]],
    tmp_path: Path,
) -> None:
    # As Kubernetes mounts secrets: certificate and key change at one blow.
    (old, new), ((server, old_client), (_, new_client)) = authorities, issued
    data = tmp_path / "..data"
    for name, pair in (("1", old_client), ("2", new_client)):
        (tmp_path / name).mkdir()
        Pair(tmp_path / name / "cert.pem", tmp_path / name / "key.pem").replace(pair)
    data.symlink_to(tmp_path / "1")
    port = free_port()
    sending = client(protocol, port, **files_of(old.certificate, Pair(data / "cert.pem", data / "key.pem")))
    with backend(protocol, server, old, port):
        sending.send(BODY)
    (tmp_path / "..data_tmp").symlink_to(tmp_path / "2")
    (tmp_path / "..data_tmp").rename(data)
    with backend(protocol, server, new, port) as connections:
        sending.send(BODY)
    assert len(connections) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_no_certificate_refuses_to_start(
    protocol: Protocol, tmp_path: Path, authorities: tuple[Pair, Pair]
) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("hello")
    old, new = authorities
    mixed = Pair(old.certificate, new.key)
    for files in (
        {"ca_file": str(garbage)},
        {"ca_file": "/nonexistent.pem"},
        files_of(old.certificate, mixed),
    ):
        with pytest.raises(ConfigError, match="certificates for https://127"):
            client(protocol, 1, **files)


def test_a_key_with_a_passphrase_refuses_to_start_and_asks_nobody(
    tmp_path: Path, authorities: tuple[Pair, Pair]
) -> None:
    locked = tmp_path / "locked.key"
    pkcs8 = ["pkcs8", "-topk8", "-passout", "pass:secret", "-in", str(authorities[0].key), "-out", str(locked)]
    cache.command([cache.tool("openssl", "openssl"), *pkcs8])
    with pytest.raises(ConfigError, match="certificates for https://127"):
        client("http/protobuf", 1, **files_of(authorities[0].certificate, Pair(authorities[0].certificate, locked)))

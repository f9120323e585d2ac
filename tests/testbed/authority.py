"""Certificate authorities of the tests' own, and what they issue."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.testbed import cache

_REQUEST = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: Path
    key: Path

    def replace(self, other: Self) -> None:
        """Puts another one's content into these files."""
        self.certificate.write_bytes(other.certificate.read_bytes())
        self.key.write_bytes(other.key.read_bytes())

    @property
    def pem(self) -> tuple[bytes, bytes]:
        """Key and certificate."""
        return self.key.read_bytes(), self.certificate.read_bytes()


def _made(folder: Path, name: str, *options: str) -> Pair:
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    files = ["-subj", f"/CN={name}", "-out", str(pair.certificate), "-keyout", str(pair.key)]
    cache.command([cache.tool("openssl", "openssl"), *_REQUEST.split(), *files, *options])
    return pair


def authority(folder: Path, name: str) -> Pair:
    """One that can issue."""
    return _made(folder, name)


def issue(by: Pair, name: str) -> Pair:
    """A certificate for 127.0.0.1 and localhost, for servers and clients, in the authority's folder."""
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    signed = ["-CA", str(by.certificate), "-CAkey", str(by.key), "-addext", "basicConstraints=critical,CA:FALSE"]
    return _made(by.certificate.parent, name, "-addext", names, *signed)

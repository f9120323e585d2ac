"""Files with TLS in them, of versions and builds that a Debian does not have at once; and the servers' certificate."""

import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import cache, toolchains

APPS = Path(__file__).parent / "apps"
PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64")
# Wheels that carry OpenSSL as shared objects.
WHEELS = {"1.1": ("psycopg2-binary==2.9.3", "3.10"), "3.5": ("psycopg2-binary==2.9.13", "3.12")}
GO_BUILDS = {
    "normal": [],
    "stripped": ["-ldflags=-s -w"],
    "pie": ["-buildmode=pie"],
    "stripped pie": ["-buildmode=pie", "-ldflags=-s -w"],
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """Of 127.0.0.1, ::1 and localhost, signed by itself. `keystore` is for Java: PKCS #12, its password "testbed"."""

    certificate: Path
    key: Path
    keystore: Path

    @property
    def trust(self) -> dict[str, str]:
        """Environment in which clients take it for good."""
        names = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        return dict.fromkeys(names, str(self.certificate))

    def files(self) -> dict[str, bytes]:
        """What a server in a VM needs of it, by name: for the folder that $TESTBED_CERTIFICATE names there."""
        return {path.name: path.read_bytes() for path in (self.certificate, self.key)}


def certificate() -> Certificate:
    """Made once; or taken from the folder $TESTBED_CERTIFICATE, where there is nothing to make one with."""
    if given := os.environ.get("TESTBED_CERTIFICATE"):
        return Certificate(Path(given, "cert.pem"), Path(given, "key.pem"), Path(given, "store.p12"))
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=testbed"
    request += " -addext subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost"
    store = "pkcs12 -export -name testbed -passout pass:testbed"
    openssl = cache.tool("openssl", "openssl")

    def make(into: Path) -> None:
        cert, key = into / "cert.pem", into / "key.pem"
        cache.command([openssl, *request.split(), "-out", str(cert), "-keyout", str(key)])
        key.chmod(0o644)  # what has given up root reads it too
        cache.command([openssl, *store.split(), "-in", str(cert), "-inkey", str(key), "-out", str(into / "store.p12")])

    folder = cache.built("certificate", [], request + store, make)
    return Certificate(folder / "cert.pem", folder / "key.pem", folder / "store.p12")


def debian_library(name: str, package: str) -> Path:
    """A shared library of the machine's own."""
    printed = cache.command(["/sbin/ldconfig", "-p"])
    found = re.search(rf"^\s*{re.escape(name)} \(.*x86-64.*\) => (\S+)$", printed, re.MULTILINE)
    if not found:
        raise cache.BuildError(f"{name} is not installed: apt-get install {package}")
    return Path(found[1]).resolve()


def openssl_from_wheel(version: str) -> Path:
    """The folder with libssl and libcrypto of OpenSSL `version`, a key of WHEELS."""
    wheel, python = WHEELS[version]

    def build(into: Path) -> None:
        options = ["--no-deps", "--only-binary=:all:", f"--python-version={python}", f"--dest={into}"]
        options += [f"--platform={platform}" for platform in PLATFORMS]
        cache.command([sys.executable, "-m", "pip", "download", "--quiet", *options, wheel])
        (file,) = into.glob("*.whl")
        with zipfile.ZipFile(file) as archive:
            archive.extractall(into)
        file.unlink()

    return next(cache.built(f"openssl-{version}", [], wheel, build).glob("*.libs"))


def libssl(version: str) -> Path:
    """libssl.so of OpenSSL 1.1, 3.0 (or whichever Debian has) or 3.5."""
    if version in WHEELS:
        return next(openssl_from_wheel(version).glob("libssl-*"))
    return debian_library("libssl.so.3", "libssl3")


def go_tls(build: str) -> Path:
    """A Go program with crypto/tls in it, built in one of the ways of GO_BUILDS."""
    folder = APPS / "go-tls"
    go = toolchains.go()

    def make(into: Path) -> None:
        env = {"GOFLAGS": "-mod=mod -buildvcs=false", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
        cache.command([go, "build", *GO_BUILDS[build], "-o", str(into / "app"), "."], cwd=folder, env=env)

    name = f"app-go-tls-{build.replace(' ', '-')}"
    return cache.built(name, cache.files_below(folder), cache.command([go, "version"]), make) / "app"


def shared_object(source: str, folder: Path) -> Path:
    """A small shared library."""
    compiler = cache.tool("gcc", "gcc")
    library = folder / "library.so"
    options = ["-O2", "-shared", "-fPIC", "-Wl,-z,noseparate-code", "-x", "c", "-", "-o", str(library)]
    done = subprocess.run([compiler, *options], input=source, text=True, capture_output=True, check=False)
    if done.returncode:
        raise cache.BuildError(done.stderr)
    return library

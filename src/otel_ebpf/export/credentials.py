"""The certificates and the key of a target, read again when their files change."""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from otel_ebpf.config.settings import OtlpTarget
from otel_ebpf.errors import ConfigError

log = logging.getLogger(__name__)

_FileState = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Pem:
    """What the files hold, None where there is none: then the authorities are those that whoever uses this brings."""

    authorities: bytes | None
    key: bytes | None
    certificate: bytes | None


class Credentials:
    """Of one target. Files that can't be used at the start are a ConfigError.

    Later they may be, as a certificate and its key are rarely written at once: then what was read before stays in
    use, and the files are looked at again with each request.
    """

    def __init__(self, target: OtlpTarget) -> None:
        self._target = target
        self._paths = tuple(
            Path(name) for name in (target.ca_file, target.client_certificate_file, target.client_key_file) if name
        )
        self._read = self._told_of = self._state()
        self.context, self.pem = self._load()

    def renew(self) -> bool:
        """Reads files that have changed. True if `context` and `pem` are others now."""
        state = self._state()
        if state == self._read:
            return False
        try:
            self.context, self.pem = self._load()
        except ConfigError as error:
            if state != self._told_of:
                self._told_of = state
                log.warning("%s; what they held before stays in use", error)
            return False
        self._read = self._told_of = state
        log.info("certificates for %s read anew", self._target.shown_url)
        return True

    def _state(self) -> tuple[_FileState, ...]:
        return tuple(_file_state(path) for path in self._paths)

    def _load(self) -> tuple[ssl.SSLContext, Pem]:
        target = self._target
        key_file = target.client_certificate_file and (target.client_key_file or target.client_certificate_file)
        try:
            # The machine's authorities can be had as one only where they are in one file.
            authorities = _content(target.ca_file or ssl.get_default_verify_paths().cafile or "")
            pem = Pem(authorities, _content(key_file), _content(target.client_certificate_file))
            context = ssl.create_default_context(cafile=target.ca_file or None)
            if target.client_certificate_file:
                # A key with a passphrase is refused: nobody is there to be asked for it.
                context.load_cert_chain(target.client_certificate_file, target.client_key_file or None, lambda: b"")
        except OSError as error:  # ssl.SSLError is one: not a certificate
            raise ConfigError(f"certificates for {target.shown_url}: {error}") from error
        return context, pem


def _content(name: str) -> bytes | None:
    return Path(name).read_bytes() if name else None


def _file_state(path: Path) -> _FileState:
    """Kubernetes replaces the folder behind a symbolic link, others the file or what is in it: all show here."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns

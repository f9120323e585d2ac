"""Values as people write them in flags, variables and files. All raise ValueError saying what would be right."""

from urllib.parse import unquote, urlsplit

from otel_ebpf.model import PortRange


def parse_ports(text: str) -> tuple[PortRange, ...]:
    """`80`, `8000-8100`, and lists of both: `80,443,8000-8100`."""
    return tuple(_parse_port_range(part.strip()) for part in text.split(","))


def _parse_port_range(text: str) -> PortRange:
    first, dash, last = (part.strip() for part in text.partition("-"))
    if not all(part.isascii() and part.isdigit() for part in ((first, last) if dash else (first,))):
        raise ValueError(f"{text!r} is not a port or a range of ports such as 8080 or 8000-8100")
    low, high = int(first), int(last) if dash else int(first)
    if not 1 <= low <= high <= 65535:
        raise ValueError(f"{text!r}: ports go from 1 to 65535, the lower one first")
    return low, high


def parse_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """`key=value,key=value` with %-escapes, as OTEL_RESOURCE_ATTRIBUTES and OTEL_EXPORTER_OTLP_HEADERS have it."""
    pairs: dict[str, str] = {}
    for part in text.split(","):
        if not part.strip():
            continue
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{part.strip()!r} is not of the form key=value")
        pairs[unquote(key.strip())] = unquote(value.strip())
    return tuple(pairs.items())


def parse_endpoint(url: str) -> str:
    """An absolute http(s) URL, as it is."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is not a number, an unclosed [
        valid = False
    if not valid:
        raise ValueError(f"{url!r} is not a URL such as http://localhost:4318")
    return url


def signal_url(base: str, signal: str) -> str:
    """The URL of `traces` or `metrics` below a base endpoint, whose own path and query are kept."""
    parts = urlsplit(parse_endpoint(base))
    return parts._replace(path=f"{parts.path.rstrip('/')}/v1/{signal}").geturl()


def grpc_url(text: str, *, insecure: bool) -> str:
    """Where gRPC goes, as a URL with a port and without a path.

    `text` is one, or `host:port`: then `insecure` says if without TLS. Where no port is given it is OTLP's own in
    the clear, and with TLS HTTPS's, as gRPC has it.
    """
    url = text if "://" in text else f"{'http' if insecure else 'https'}://{text}"
    try:
        parts = urlsplit(parse_endpoint(url))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a URL such as http://localhost:4317") from error
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{text!r}: gRPC has no place for anything behind host and port")
    port = "" if parts.port else ":443" if parts.scheme == "https" else ":4317"
    return f"{parts.scheme}://{parts.netloc.removesuffix(':')}{port}"


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port to listen on: `127.0.0.1:8080`, `[::1]:8080`, `:8080` for all addresses, `8080` for loopback."""
    host, colon, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65536) or (":" in host and host[:1] != "["):
        raise ValueError(f"{text!r} is not an address to listen on, such as 127.0.0.1:13133 or :13133")
    return (host.strip("[]") or ("0.0.0.0" if colon else "127.0.0.1")), int(port)  # noqa: S104 - by the colon


class Misplaced(ValueError):
    """What is valid by itself does not fit where it stands: `path` in the configuration file."""

    def __init__(self, path: tuple[str | int, ...], problem: str) -> None:
        super().__init__(problem)
        self.path = path

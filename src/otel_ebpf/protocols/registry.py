"""Registry of protocols: one entry for each parser of src/native/src/protocols.

To add one: write its parser in Rust, its vectors in tests/protocols, and its entry here.
"""

from dataclasses import dataclass
from typing import Final, Literal

from otel_ebpf import _native


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as the semantic conventions define it. No `bounds`: an up-down counter."""

    name: str
    unit: str
    description: str
    bounds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestMetrics:
    """What is measured of requests on one side of the connection."""

    duration: Metric
    request_size: Metric | None = None
    response_size: Metric | None = None
    active: Metric | None = None
    process: Metric | None = None  # duration of what is done with messages, in place of `duration`
    sent: Metric | None = None
    consumed: Metric | None = None


@dataclass(frozen=True, slots=True)
class Protocol:
    """`name` is `network.protocol.name`, of calls `rpc.system.name`; elsewhere as in src/native/src/protocols/mod.rs.

    `detector` says in a sentence how the core recognises it.
    """

    name: str
    title: str
    detector: str
    conventions: str
    metrics: "Metrics"


Metrics = dict[Literal["server", "client"], RequestMetrics]

_SECONDS: Final = tuple(_native.DURATION_BOUNDS_S)
_BYTES: Final = tuple(_native.SIZE_BOUNDS)

HTTP: Final = Protocol(
    name="http",
    title="HTTP/1.0, HTTP/1.1 and HTTP/2",
    detector="a request line (method, target, HTTP/1.x) in one direction, a status line in the other; HTTP/2's frames",
    conventions="https://opentelemetry.io/docs/specs/semconv/http/",
    metrics={
        "server": RequestMetrics(
            Metric("http.server.request.duration", "s", "Duration of HTTP server requests.", _SECONDS),
            Metric("http.server.request.body.size", "By", "Size of HTTP server request bodies.", _BYTES),
            Metric("http.server.response.body.size", "By", "Size of HTTP server response bodies.", _BYTES),
            Metric("http.server.active_requests", "{request}", "Number of active HTTP server requests."),
        ),
        "client": RequestMetrics(
            Metric("http.client.request.duration", "s", "Duration of HTTP client requests.", _SECONDS),
            Metric("http.client.request.body.size", "By", "Size of HTTP client request bodies.", _BYTES),
            Metric("http.client.response.body.size", "By", "Size of HTTP client response bodies.", _BYTES),
        ),
    },
)

# Sizes and messages per call had metrics until the conventions deprecated them without another in their place.
GRPC: Final = Protocol(
    name="grpc",
    title="gRPC",
    detector="a request of HTTP/2 with a content-type of application/grpc",
    conventions="https://opentelemetry.io/docs/specs/semconv/rpc/grpc/",
    metrics={
        "server": RequestMetrics(
            Metric("rpc.server.call.duration", "s", "Duration of incoming remote procedure calls.", _SECONDS)
        ),
        "client": RequestMetrics(
            Metric("rpc.client.call.duration", "s", "Duration of outgoing remote procedure calls.", _SECONDS)
        ),
    },
)

# Of what servers do the conventions have no metrics: those are named after ours.
_DB: Final[Metrics] = {
    "client": RequestMetrics(
        Metric(
            "db.client.operation.duration", "s", "Duration of database client operations.", tuple(_native.DB_BOUNDS_S)
        )
    ),
    "server": RequestMetrics(
        Metric(
            "otel_ebpf.db.server.operation.duration",
            "s",
            "Duration of database operations on the server's side.",
            tuple(_native.DB_BOUNDS_S),
        )
    ),
}
_MESSAGING: Final[Metrics] = {
    "client": RequestMetrics(
        Metric(
            "messaging.client.operation.duration",
            "s",
            "Duration of messaging operation initiated by a producer or consumer client.",
            _SECONDS,
        ),
        process=Metric("messaging.process.duration", "s", "Duration of processing operation.", _SECONDS),
        sent=Metric(
            "messaging.client.sent.messages",
            "{message}",
            "Number of messages producer attempted to send to the broker.",
        ),
        consumed=Metric(
            "messaging.client.consumed.messages",
            "{message}",
            "Number of messages that were delivered to the application.",
        ),
    ),
    "server": RequestMetrics(
        Metric(
            "otel_ebpf.messaging.server.operation.duration",
            "s",
            "Duration of messaging operations on the broker's side.",
            _SECONDS,
        )
    ),
}
_DNS: Final[Metrics] = {
    "client": RequestMetrics(
        Metric("dns.lookup.duration", "s", "Measures the time taken to perform a DNS lookup.", _SECONDS)
    ),
    "server": RequestMetrics(
        Metric("otel_ebpf.dns.server.lookup.duration", "s", "Duration of DNS lookups on the server's side.", _SECONDS)
    ),
}

POSTGRESQL: Final = Protocol(
    name="postgresql",
    title="PostgreSQL's protocol, version 3",
    detector="a client's first message (length, version, parameters, or the wish for encryption); later, messages with "
    "types, lengths and contents that fit together",
    conventions="https://opentelemetry.io/docs/specs/semconv/db/postgresql/",
    metrics=_DB,
)

MYSQL: Final = Protocol(
    name="mysql",
    title="MySQL and MariaDB",
    detector="the server's greeting; on older connections a statement whose answer fits, or a login within TLS",
    conventions="https://opentelemetry.io/docs/specs/semconv/db/mysql/",
    metrics=_DB,
)

MONGODB: Final = Protocol(
    name="mongodb",
    title="MongoDB",
    detector="a header whose operation, sizes and document agree: OP_MSG, OP_QUERY and the like, OP_COMPRESSED",
    conventions="https://opentelemetry.io/docs/specs/semconv/db/mongodb/",
    metrics=_DB,
)

CASSANDRA: Final = Protocol(
    name="cassandra",
    title="Cassandra's CQL, versions 3 to 5 of its protocol",
    detector="OPTIONS or STARTUP, or another request whose body fits its header, and a response on the same stream",
    conventions="https://opentelemetry.io/docs/specs/semconv/db/cassandra/",
    metrics=_DB,
)

KAFKA: Final = Protocol(
    name="kafka",
    title="Kafka",
    detector="a request's header (size, API key, version, client) and what it promises, and a response with its id",
    conventions="https://opentelemetry.io/docs/specs/semconv/messaging/kafka/",
    metrics=_MESSAGING,
)

AMQP: Final = Protocol(
    name="amqp",
    title="RabbitMQ (AMQP 0-9-1)",
    detector="the protocol header; later, a frame with a method that only this side sends",
    conventions="https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/",
    metrics=_MESSAGING,
)

NATS: Final = Protocol(
    name="nats",
    title="NATS, with JetStream",
    detector="the server's INFO; later, lines of this side",
    conventions="https://opentelemetry.io/docs/specs/semconv/messaging/",
    metrics=_MESSAGING,
)

MQTT: Final = Protocol(
    name="mqtt",
    title="MQTT 3.1, 3.1.1 and 5",
    detector="CONNECT; later, SUBSCRIBE, or packets on MQTT's own ports",
    conventions="https://opentelemetry.io/docs/specs/semconv/messaging/",
    metrics=_MESSAGING,
)

REDIS: Final = Protocol(
    name="redis",
    title="Redis (RESP2 and RESP3)",
    detector="an array of strings whose first is a command's name; an inline command, once its answer fits",
    conventions="https://opentelemetry.io/docs/specs/semconv/db/redis/",
    metrics=_DB,
)

MEMCACHED: Final = Protocol(
    name="memcached",
    title="memcached (text, meta and binary)",
    detector="a command's line or a header of the binary protocol, once its answer fits",
    conventions="https://opentelemetry.io/docs/specs/semconv/db/",
    metrics=_DB,
)

DNS: Final = Protocol(
    name="dns",
    title="DNS over UDP and TCP",
    detector="a message with one question and nothing that a question has not; over UDP on port 53 alone",
    conventions="https://opentelemetry.io/docs/specs/semconv/dns/dns-metrics/",
    metrics=_DNS,
)

# AWS' conventions make a call of the SDK a remote procedure call.
AREAS: Final = {"db": _DB, "messaging": _MESSAGING, "dns": _DNS, "object_store": GRPC.metrics}

PROTOCOLS: Final = {
    protocol.name: protocol
    for protocol in (
        HTTP,
        GRPC,
        POSTGRESQL,
        MYSQL,
        MONGODB,
        CASSANDRA,
        KAFKA,
        AMQP,
        NATS,
        MQTT,
        REDIS,
        MEMCACHED,
        DNS,
    )
}

"""`python -m tests.testbed`: builds all that the tests need, so that no test has to wait for it."""

import time

from tests.testbed import brokers, collector, grpc, kube, postgresql, servers

for what, build in (
    ("Go application", servers.go_app),
    ("Go application with HTTP/2", lambda: servers.go_app(recent=True)),
    ("Go application with gRPC", grpc.APPLICATIONS["go"]),
    ("Go application with brokers", brokers.go_app),
    ("Node application with gRPC", grpc.APPLICATIONS["node"]),
    ("Java application", servers.java_app),
    ("Go client of PostgreSQL", postgresql.APPLICATIONS["pgx"]),
    ("Java client of PostgreSQL", postgresql.APPLICATIONS["jdbc"]),
    ("Rust application", servers.rust_app),
    ("OpenTelemetry Collector", collector.program_path),
    ("Kubernetes API server", kube.program_path),
):
    begin = time.monotonic()
    build()
    print(f"{what}: {time.monotonic() - begin:.1f} s", flush=True)

"""Real servers, clients and backends for the tests, brought up from this tree.

Each server and backend is a context manager: it starts on loopback, waits until it answers, and ends what it
started, by pid. What has to be built is built once and kept in `$TESTBED` (default
`~/.cache/otel-ebpf-testbed`), under a name that holds a hash of its sources and of its toolchain.
"""

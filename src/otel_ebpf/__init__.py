"""otel-ebpf: every request of every process becomes a span and a metric, without touching the application."""

from importlib import metadata

try:
    __version__ = metadata.version("otel-ebpf")
except metadata.PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

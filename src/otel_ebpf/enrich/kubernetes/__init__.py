"""What the cluster says of this node's pods: kept in step with the API server, without ever waiting for it."""

from otel_ebpf.enrich.kubernetes.api import Access, Api, connect, node_name
from otel_ebpf.enrich.kubernetes.attributes import METADATA, described
from otel_ebpf.enrich.kubernetes.cluster import Changes, Cluster
from otel_ebpf.enrich.kubernetes.follow import Follower, collections_of
from otel_ebpf.enrich.kubernetes.objects import Json, Kept

__all__ = [
    "METADATA",
    "Access",
    "Api",
    "Changes",
    "Cluster",
    "Follower",
    "Json",
    "Kept",
    "collections_of",
    "connect",
    "described",
    "node_name",
]

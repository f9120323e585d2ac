"""Pods and namespaces as the API server sends them (JSON), cut down to what is kept.

A pod is some 10 KB of JSON, most of it managedFields, volumes and probes; what is kept is less than 1 KB.
Source: Kubernetes API reference, core/v1 Pod and Namespace.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from sys import intern
from typing import Any, Final, Literal

from otel_ebpf.config.settings import INJECT_ANNOTATION
from otel_ebpf.model import Pod, PodContainer

Json = Mapping[str, Any]

RESOURCE_ANNOTATIONS: Final = "resource.opentelemetry.io/"
STATIC_HASH: Final = "kubernetes.io/config.hash"
TEMPLATE_HASH: Final = "pod-template-hash"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_VERSION: Final = "app.kubernetes.io/version"
_LABELS: Final = frozenset({LABEL_INSTANCE, LABEL_NAME, LABEL_VERSION, TEMPLATE_HASH})

# As spec and status name them.
_KINDS: Final[tuple[tuple[Literal["container", "init", "ephemeral"], str, str], ...]] = (
    ("container", "containers", "containerStatuses"),
    ("init", "initContainers", "initContainerStatuses"),
    ("ephemeral", "ephemeralContainers", "ephemeralContainerStatuses"),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """Which annotations are kept: ours by their prefix, and those that name resource attributes."""

    prefix: str = "otel-ebpf.io/"

    def annotations(self, metadata: Json) -> dict[str, str]:
        prefixes = (self.prefix, RESOURCE_ANNOTATIONS)
        return {
            intern(key): value
            for key, value in (metadata.get("annotations") or {}).items()
            if key.startswith(prefixes) or key in {INJECT_ANNOTATION, STATIC_HASH}
        }


def pod(item: Json, kept: Kept) -> Pod:
    """What is kept of a pod."""
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    return Pod(
        uid=metadata["uid"],
        namespace=intern(metadata.get("namespace", "")),
        name=metadata["name"],
        start_time=status.get("startTime") or "",
        created_unix_s=_unix_s(metadata.get("creationTimestamp")),
        owner=_owner(metadata),
        labels={intern(key): value for key, value in (metadata.get("labels") or {}).items() if key in _LABELS},
        annotations=kept.annotations(metadata),
        containers=tuple(_containers(spec, status)),
    )


def _owner(metadata: Json) -> tuple[str, str]:
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller"):
            return intern(reference.get("kind", "")), reference.get("name", "")
    return "", ""


def _containers(spec: Json, status: Json) -> Iterable[PodContainer]:
    for kind, listed, told in _KINDS:
        statuses = {one["name"]: one for one in status.get(told) or ()}
        for container in spec.get(listed) or ():
            name, image = container["name"], container.get("image") or ""
            # The spec's image is what was asked for; a status may have a digest or another registry's name for it.
            yield PodContainer(intern(name), intern(image), kind, tuple(_ids(statuses.get(name) or {})))


def _ids(status: Json) -> Iterable[str]:
    """Ids of a container's runs, without the "containerd://" before them."""
    last = ((status.get("lastState") or {}).get("terminated") or {}).get("containerID")
    for identifier in (status.get("containerID"), last):
        if identifier:
            yield identifier.rpartition("/")[2]


def _unix_s(time: str | None) -> int:
    try:
        return int(datetime.fromisoformat(time).timestamp()) if time else 0
    except ValueError:
        return 0

"""What a pod is called: k8s.*, container.image.* and service.* attributes.

service.* by "Specify resource attributes using Kubernetes annotations" and "How service attributes should be
calculated" of the semantic conventions (non-normative/k8s-attributes): annotation, label, then what it belongs to.
The owner of an owner is not asked for: a ReplicaSet of a Deployment has the Deployment's name before the hash of its
template, a Job of a CronJob the CronJob's before the minute it was due. So pods and namespaces are all we may read.
"""

import re
from collections.abc import Iterator
from typing import Final

from otel_ebpf import semconv
from otel_ebpf.enrich.kubernetes import objects
from otel_ebpf.model import Attributes, AttributeValue, Pod, Workload

# "missing": the API server told nothing of the pod in time; "partial": not yet which of its containers it is.
METADATA: Final = "otel_ebpf.kubernetes.metadata"

_DIGEST: Final = re.compile(r"@[a-z0-9+._-]+:[0-9a-f]+$")
_DUE: Final = re.compile(r"-(?P<minutes>\d{8})$")
# A job is made when it is due, or late: after the controller was away.
_DUE_BEFORE_S: Final = 7 * 86400
_OWNERS: Final = {
    "ReplicaSet": semconv.K8S_REPLICASET_NAME,
    "StatefulSet": semconv.K8S_STATEFULSET_NAME,
    "DaemonSet": semconv.K8S_DAEMONSET_NAME,
    "Job": semconv.K8S_JOB_NAME,
}
# Whose name a service has, the first that is there.
_NAMING: Final = (
    semconv.K8S_DEPLOYMENT_NAME,
    semconv.K8S_REPLICASET_NAME,
    semconv.K8S_STATEFULSET_NAME,
    semconv.K8S_DAEMONSET_NAME,
    semconv.K8S_CRONJOB_NAME,
    semconv.K8S_JOB_NAME,
    semconv.K8S_POD_NAME,
)


def described(workload: Workload) -> Attributes:
    """All attributes that follow from a pod and, where it is known, the container."""
    pod, container = workload.pod, workload.container
    name, tag = split_image(container.image) if container else ("", "")
    attributes: dict[str, AttributeValue] = {
        semconv.K8S_NAMESPACE_NAME: pod.namespace,
        semconv.K8S_POD_NAME: pod.name,
        semconv.K8S_POD_UID: pod.uid,
        semconv.K8S_POD_START_TIME: pod.start_time,
        semconv.K8S_CONTAINER_NAME: container.name if container else "",
        semconv.CONTAINER_IMAGE_NAME: name,
        semconv.CONTAINER_IMAGE_TAGS: (tag,) if tag else (),
        **dict(_owners(pod)),
    }
    labels = (pod.labels.get(objects.LABEL_INSTANCE), pod.labels.get(objects.LABEL_NAME))
    names = (*labels, *(attributes.get(key) for key in _NAMING))
    attributes[semconv.SERVICE_NAME] = next((name for name in names if name), "")
    attributes[semconv.SERVICE_NAMESPACE] = pod.namespace
    attributes[semconv.SERVICE_VERSION] = pod.labels.get(objects.LABEL_VERSION) or tag
    if container:
        attributes[semconv.SERVICE_INSTANCE_ID] = f"{pod.namespace}.{pod.name}.{container.name}"
    for key, value in pod.annotations.items():
        if key.startswith(objects.RESOURCE_ANNOTATIONS):
            attributes[key.removeprefix(objects.RESOURCE_ANNOTATIONS)] = value
    known = {key: value for key, value in attributes.items() if key and value}
    return known if container else {**known, METADATA: "partial"}


def _owners(pod: Pod) -> Iterator[tuple[str, str]]:
    kind, name = pod.owner
    if kind not in _OWNERS or not name:
        return
    yield _OWNERS[kind], name
    template = pod.labels.get(objects.TEMPLATE_HASH)
    if kind == "ReplicaSet" and template and name.endswith(f"-{template}"):
        yield semconv.K8S_DEPLOYMENT_NAME, name.removesuffix(f"-{template}")
    if kind == "Job" and (due := _DUE.search(name)):
        # Eight digits may be a date as well: only a minute shortly before the pod was made is the CronJob's.
        late_s = pod.created_unix_s - int(due["minutes"]) * 60
        if -60 <= late_s <= _DUE_BEFORE_S:
            yield semconv.K8S_CRONJOB_NAME, name[: due.start()]


def split_image(image: str) -> tuple[str, str]:
    """Name and tag of registry:5000/org/name:tag@sha256:...; "" where there is no tag."""
    image = _DIGEST.sub("", image)
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, "")

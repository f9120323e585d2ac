"""What a process is: its service's name, its resource, and what selection needs to know.

service.name, first that is there: the process's own OTEL_SERVICE_NAME, then OTEL_RESOURCE_ATTRIBUTES, then what its
pod is called, then the name of its program. A process that has ended before we looked is named by what the kernel
saw of it.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage

from otel_ebpf import __version__, semconv
from otel_ebpf.config.values import parse_pairs
from otel_ebpf.enrich import cgroups as cgroup_ids
from otel_ebpf.enrich import container, host, naming, proc
from otel_ebpf.enrich.kubernetes import METADATA, described
from otel_ebpf.model import Attributes, AttributeValue, Process, ProcessInfo, Resource, Workload

# Of service.instance.id, by the conventions' definition.
_INSTANCE_NAMESPACE: Final = uuid.UUID("4d63009a-8d0f-11ee-aad7-4c796ed8e320")


@dataclass(frozen=True, slots=True)
class Running:
    """A process that the core has not met: all that is known of it is in /proc."""

    tgid: int
    start_boottime_ns: int
    key: int = 0
    ppid: int = 0
    cgroup_id: int = 0
    comm: str = ""
    args: tuple[str, ...] = ()


def running(pid: int) -> Running:
    """Whoever has the pid now."""
    return Running(pid, proc.start_boottime_ns(pid))


def encode_resource(attributes: Attributes) -> Resource:
    """The resource with its OTLP encoding."""
    pairs = [KeyValue(key=key, value=_any_value(value)) for key, value in attributes.items()]
    return Resource(attributes, ResourceMessage(attributes=pairs).SerializeToString())


def _any_value(value: AttributeValue) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case _:
            return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=item) for item in value]))


class Enricher:
    """`base` goes on every resource; its service.name is the agent's own. `command_args` adds the arguments."""

    def __init__(self, base: Mapping[str, str], *, command_args: bool = False, proc_root: str = "/proc") -> None:
        self._agent_name = base.get(semconv.SERVICE_NAME, semconv.SCOPE_NAME)
        self._base = {key: value for key, value in base.items() if key != semconv.SERVICE_NAME}
        self._host = host.host_attributes()
        self._command_args = command_args
        self._proc_root = proc_root
        self._cgroup_ids = cgroup_ids.CgroupIds(proc_root)

    def agent_resource(self, pid: int) -> Resource:
        """The agent's own."""
        return encode_resource(
            {
                **self._host,
                semconv.PROCESS_PID: pid,
                **self._base,
                semconv.SERVICE_NAME: self._agent_name,
                semconv.SERVICE_VERSION: __version__,
            }
        )

    def describe(self, process: Process) -> ProcessInfo:
        """Everything about a process. Never fails: what can't be known is left out."""
        files = proc.read(process.tgid, process.start_boottime_ns, self._proc_root) or proc.ProcessFiles()
        args = files.args or tuple(process.args)
        executable_name = PurePosixPath(files.executable).name or _name_from(args, process.comm)
        program = naming.program_name(executable_name, args, files.working_directory)
        cgroups = container.cgroup_paths(files.cgroup)
        if not cgroups and (path := self._cgroup_ids.path(process.cgroup_id)):
            cgroups = (path,)
        place = container.container_of(cgroups)
        own = _own_attributes(files.environ)
        service_name = str(own.get(semconv.SERVICE_NAME) or program.name or f"pid-{process.tgid}")

        attributes: dict[str, AttributeValue] = {
            **self._host,
            semconv.PROCESS_PID: process.tgid,
            semconv.PROCESS_EXECUTABLE_NAME: executable_name,
            semconv.TELEMETRY_SDK_NAME: semconv.SCOPE_NAME,
            semconv.TELEMETRY_SDK_VERSION: __version__,
            # The same whenever the agent is started anew, other for whoever gets the pid next.
            semconv.SERVICE_INSTANCE_ID: str(
                uuid.uuid5(
                    _INSTANCE_NAMESPACE,
                    f"{self._host.get(semconv.HOST_ID) or self._host[semconv.HOST_NAME]}"
                    f"/{process.tgid}/{process.start_boottime_ns}",
                )
            ),
        }
        known: dict[str, AttributeValue] = {
            semconv.PROCESS_PARENT_PID: files.parent_pid or process.ppid,
            semconv.PROCESS_EXECUTABLE_PATH: files.executable,
            semconv.PROCESS_COMMAND_ARGS: args if self._command_args else (),
            semconv.PROCESS_RUNTIME_NAME: program.runtime,
            semconv.TELEMETRY_SDK_LANGUAGE: program.language,
            semconv.CONTAINER_ID: place.id,
            semconv.K8S_POD_UID: place.pod_uid,
        }
        attributes.update({key: value for key, value in known.items() if value})
        attributes.update(self._base)
        attributes.update(own)
        attributes[semconv.SERVICE_NAME] = service_name
        return ProcessInfo(
            key=process.key,
            pid=process.tgid,
            executable_path=files.executable,
            executable_name=executable_name,
            cgroups=cgroups,
            container_id=place.id,
            pod_uid=place.pod_uid,
            service_name=service_name,
            resource=encode_resource(attributes),
            own=own,
            bare=attributes,
        )


def place(info: ProcessInfo, workload: Workload | None) -> ProcessInfo:
    """The process with what Kubernetes says of it; None: of its pod nothing is known, and the resource says so.

    What the process says of itself goes first, what Kubernetes says comes before what the agent's own variables say.
    """
    said = described(workload) if workload else {METADATA: "missing"}
    attributes = {**info.bare, **said, **info.own}
    return replace(
        info,
        service_name=str(attributes[semconv.SERVICE_NAME]),
        resource=encode_resource(attributes),
        workload=workload,
    )


def _name_from(args: tuple[str, ...], comm: str) -> str:
    """Name of an executable that can't be looked up: argv[0] if `comm`, cut at 15 characters, agrees with it.

    They disagree where a process renamed itself ("nginx: worker process").
    """
    name = PurePosixPath(args[0]).name if args else ""
    return name if name and (not comm or name[:15] == comm) else comm or name


def _own_attributes(environ: tuple[str, ...]) -> dict[str, str]:
    """What the process says of itself in its environment."""
    variables = dict(entry.partition("=")[::2] for entry in environ if entry.startswith("OTEL_"))
    try:
        attributes = dict(parse_pairs(variables.get("OTEL_RESOURCE_ATTRIBUTES", "")))
    except ValueError:  # theirs to mend; an SDK would drop all of it as well
        attributes = {}
    if name := variables.get("OTEL_SERVICE_NAME", "").strip():
        attributes[semconv.SERVICE_NAME] = name
    return attributes

"""The declarative file as pydantic models: the OpenTelemetry format 1.x as far as it means something here, and ours.

Source: open-telemetry/opentelemetry-configuration, schema/*.yaml. A key of the standard that has no meaning here
(yet) is an `Unused` field: valid, and named in a warning. Any other key is an error.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from otel_ebpf.config import values
from otel_ebpf.config.settings import LEAST_QUEUE_BYTES, Compression, GrpcCompression
from otel_ebpf.model import PortRange

Unused = Annotated[Any, "unused"]


class Model(BaseModel):
    """Strict: "10" is no number, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _ports(value: object) -> object:
    ranges: list[PortRange] = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bool) or not isinstance(item, int | str):
            raise ValueError(f"{item!r} is not a port or a range of ports such as 8080 or 8000-8100")  # noqa: TRY004
        ranges.extend(values.parse_ports(str(item)))
    return ranges


def _ring_size(value: int) -> int:
    if value & (value - 1) or value < 4096:
        raise ValueError(f"{value} is not a power of two from 4096 (a page) upwards, such as 8388608")
    return value


Text = Annotated[str, Field(min_length=1)]
Globs = Annotated[list[Text], BeforeValidator(_as_list)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Endpoint = Annotated[str, AfterValidator(values.parse_endpoint)]


def _listen(value: str) -> str:
    values.parse_listen(value)
    return value


Listen = Annotated[str, AfterValidator(_listen)]


# ---- ours: distribution.otel_ebpf ----


class RuleModel(Model):
    executable: Globs = []
    port: Annotated[list[PortRange], BeforeValidator(_ports)] = []
    pid: Annotated[list[Positive], BeforeValidator(_as_list)] = []
    cgroup: Globs = []
    service: Globs = []
    namespace: Globs = []


class SelectionModel(Model):
    include: list[RuleModel] | None = None
    exclude: list[RuleModel] | None = None


class HttpModel(Model):
    routes: Literal["infer", "unset"] = "infer"
    max_routes_per_service: Positive = 200


class CaptureModel(Model):
    tls: bool = True
    ring_bytes: Annotated[int, AfterValidator(_ring_size)] = 4 << 20
    span_queue_bytes: Positive = 16 << 20


class QueueModel(Model):
    directory: str | None = None
    max_bytes: Annotated[int, Field(ge=LEAST_QUEUE_BYTES)] = 256 << 20
    max_age_seconds: Positive = 86400


class OutputModel(Model):
    lines: bool | None = None
    format: Literal["text", "json"] = "text"
    stats: bool = False


def _prefix(value: str) -> str:
    name, slash, rest = value.partition("/")
    if not slash or rest or not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", name):
        raise ValueError(f"{value!r} is not a domain with a slash behind it, such as otel-ebpf.io/")
    return value


class KubernetesModel(Model):
    enabled: bool | Literal["auto"] = "auto"
    node_name: str | None = None
    cluster_name: str | None = None
    kubeconfig: str | None = None
    annotation_prefix: Annotated[str, AfterValidator(_prefix)] = "otel-ebpf.io/"


class HealthModel(Model):
    endpoint: Listen | None = None
    profile_endpoint: Listen | None = None


class ExportersModel(Model):
    traces: list[Text] = []
    metrics: list[Text] = []


class OurModel(Model):
    selection: SelectionModel | None = None
    spans_per_second: Count = 1000
    max_series_per_process: Positive = 2000
    command_args: bool = False
    http: HttpModel | None = None
    capture: CaptureModel | None = None
    queue: QueueModel | None = None
    output: OutputModel | None = None
    kubernetes: KubernetesModel | None = None
    health: HealthModel | None = None
    exporters: ExportersModel | None = None


class DistributionModel(BaseModel):
    """Other distributions' parts are none of our business."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    otel_ebpf: OurModel | None = None


# ---- the standard's ----


class NameValue(Model):
    name: Text
    value: str | bool | int | float | list[Any] | None
    type: str | None = None


class ResourceModel(Model):
    attributes: list[NameValue] | None = None
    attributes_list: str | None = None
    schema_url: Unused = None
    detection: Unused = Field(default=None, alias="detection/development")


class TlsModel(Model):
    ca_file: str | None = None
    key_file: str | None = None
    cert_file: str | None = None


class GrpcTlsModel(TlsModel):
    insecure: bool | None = None


class HeaderModel(Model):
    name: Text
    value: str | None = None


class OtlpModel(Model):
    headers: list[HeaderModel] | None = None
    headers_list: str | None = None
    timeout: Count | None = None  # milliseconds
    max_request_size: Unused = None
    max_response_size: Unused = None


class OtlpHttpModel(OtlpModel):
    endpoint: Endpoint | None = None
    tls: TlsModel | None = None
    compression: Compression | None = None
    encoding: Literal["protobuf", "json"] | None = None


class OtlpGrpcModel(OtlpModel):
    endpoint: Text | None = None
    tls: GrpcTlsModel | None = None
    compression: GrpcCompression | None = None


class MetricPreferences(Model):
    temporality_preference: Literal["cumulative", "delta", "low_memory"] | None = None
    default_histogram_aggregation: Unused = None


class OtlpHttpMetricModel(OtlpHttpModel, MetricPreferences):
    pass


class OtlpGrpcMetricModel(OtlpGrpcModel, MetricPreferences):
    pass


class SpanExporterModel(Model):
    otlp_http: OtlpHttpModel | None = None
    otlp_grpc: OtlpGrpcModel | None = None


class MetricExporterModel(Model):
    otlp_http: OtlpHttpMetricModel | None = None
    otlp_grpc: OtlpGrpcMetricModel | None = None


class BatchModel(Model):
    schedule_delay: Count | None = None  # milliseconds
    max_export_batch_size: Positive | None = None
    export_timeout: Unused = None
    max_queue_size: Unused = None
    exporter: SpanExporterModel


class SpanProcessorModel(Model):
    batch: BatchModel | None = None


class RatioModel(Model):
    ratio: Annotated[float, Field(ge=0, le=1)] | None = None


class RootSamplerModel(Model):
    always_on: dict[str, Any] | None = None
    always_off: dict[str, Any] | None = None
    trace_id_ratio_based: RatioModel | None = None


class ParentBasedModel(Model):
    root: RootSamplerModel | None = None
    remote_parent_sampled: Unused = None
    remote_parent_not_sampled: Unused = None
    local_parent_sampled: Unused = None
    local_parent_not_sampled: Unused = None


class SamplerModel(RootSamplerModel):
    parent_based: ParentBasedModel | None = None


class TracerProviderModel(Model):
    processors: Annotated[list[SpanProcessorModel], Field(max_length=1)] | None = None
    sampler: SamplerModel | None = None
    limits: Unused = None
    id_generator: Unused = None
    tracer_configurator: Unused = Field(default=None, alias="tracer_configurator/development")


class PeriodicModel(Model):
    interval: Positive | None = None  # milliseconds
    exporter: MetricExporterModel
    timeout: Unused = None
    producers: Unused = None
    cardinality_limits: Unused = None
    max_export_batch_size: Unused = Field(default=None, alias="max_export_batch_size/development")


class ReaderModel(Model):
    periodic: PeriodicModel | None = None


class MeterProviderModel(Model):
    readers: Annotated[list[ReaderModel], Field(max_length=1)] | None = None
    views: Unused = None
    exemplar_filter: Unused = None
    meter_configurator: Unused = Field(default=None, alias="meter_configurator/development")


def _version(value: object) -> object:
    major, dot, minor = str(value).partition(".")
    if not isinstance(value, str) or major != "1" or not dot or not minor.split("-")[0].isdigit():
        raise ValueError(f'{value!r} is not a version that is understood; "1.0" is (with the quotes)')
    return value


class FileModel(Model):
    """The whole file."""

    file_format: Annotated[str, BeforeValidator(_version)]
    disabled: bool | None = None
    log_level: str | None = None
    resource: ResourceModel | None = None
    tracer_provider: TracerProviderModel | None = None
    meter_provider: MeterProviderModel | None = None
    distribution: DistributionModel | None = None
    attribute_limits: Unused = None
    logger_provider: Unused = None
    propagator: Unused = None
    instrumentation: Unused = Field(default=None, alias="instrumentation/development")

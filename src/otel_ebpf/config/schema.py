"""The declarative file as pydantic models: the OpenTelemetry format 1.x as far as it means something here, and ours.

Source: open-telemetry/opentelemetry-configuration, schema/*.yaml. A key of the standard that has no meaning here
is an `Unused` field: valid, and named in a warning. One that says where data goes and can't be honoured is `Absent`:
an error, as is any other key. The JSON schema is made of these models, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from otel_ebpf.config import values
from otel_ebpf.config.model import Model, as_list
from otel_ebpf.config.ours import model
from otel_ebpf.config.settings import Compression, GrpcCompression
from otel_ebpf.model import PortRange


@dataclass(frozen=True, slots=True)
class Absent:
    """A key of the standard that would change what leaves the agent, and that it can't honour: an error."""

    advice: str


Unused = Annotated[Any, "unused"]


def _ports(value: object) -> object:
    ranges: list[PortRange] = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bool) or not isinstance(item, int | str):
            raise ValueError(f"{item!r} is not a port or a range of ports such as 8080 or 8000-8100")  # noqa: TRY004
        ranges.extend(values.parse_ports(str(item)))
    return ranges


def _one_or_list(*types: str) -> WithJsonSchema:
    one: Mapping[str, Any] = {"type": list(types) if len(types) > 1 else types[0]}
    return WithJsonSchema({"anyOf": [one, {"type": "array", "items": one}]})


Text = Annotated[str, Field(min_length=1)]
Globs = Annotated[list[Text], BeforeValidator(as_list), _one_or_list("string")]
Ports = Annotated[list[PortRange], BeforeValidator(_ports), _one_or_list("integer", "string")]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Endpoint = Annotated[str, AfterValidator(values.parse_endpoint)]


# ---- ours: distribution.otel_ebpf ----


class RuleModel(Model):
    executable: Globs = Field(default_factory=list)
    port: Ports = Field(default_factory=list)
    pid: Annotated[list[Positive], BeforeValidator(as_list), _one_or_list("integer")] = Field(default_factory=list)
    cgroup: Globs = Field(default_factory=list)
    service: Globs = Field(default_factory=list)
    namespace: Globs = Field(default_factory=list)


class SelectionModel(Model):
    include: list[RuleModel] | None = None
    exclude: list[RuleModel] | None = None


if TYPE_CHECKING:

    class OurModel(Model):
        """What is read by hand of it; `ours` makes and reads the rest."""

        selection: SelectionModel | None = None

else:
    OurModel = model({"selection": SelectionModel})


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


_TO_LINES = Absent("distribution.otel_ebpf.output shows requests on standard output, as text or as JSON")
_TO_FILE = Absent("the Collector's file exporter writes what it gets by otlp_http")


class SpanExporterModel(Model):
    otlp_http: OtlpHttpModel | None = None
    otlp_grpc: OtlpGrpcModel | None = None
    otlp_file: Annotated[Any, _TO_FILE] = Field(default=None, alias="otlp_file/development")
    console: Annotated[Any, _TO_LINES] = None


class MetricExporterModel(Model):
    otlp_http: OtlpHttpMetricModel | None = None
    otlp_grpc: OtlpGrpcMetricModel | None = None
    otlp_file: Annotated[Any, _TO_FILE] = Field(default=None, alias="otlp_file/development")
    console: Annotated[Any, _TO_LINES] = None


class BatchModel(Model):
    schedule_delay: Count | None = None  # milliseconds
    max_export_batch_size: Positive | None = None
    export_timeout: Unused = None
    max_queue_size: Unused = None
    exporter: SpanExporterModel


class SpanProcessorModel(Model):
    batch: BatchModel | None = None
    simple: Annotated[Any, Absent("batch is there; with schedule_delay: 0 no span waits for others")] = None


class RatioModel(Model):
    ratio: Annotated[float, Field(ge=0, le=1)] | None = None


_OTHER_SAMPLERS = Absent("always_on, always_off, trace_id_ratio_based and parent_based are there")


class RootSamplerModel(Model):
    always_on: dict[str, Any] | None = None
    always_off: dict[str, Any] | None = None
    trace_id_ratio_based: RatioModel | None = None
    always_record: Annotated[Any, _OTHER_SAMPLERS] = None
    composite: Annotated[Any, _OTHER_SAMPLERS] = Field(default=None, alias="composite/development")
    jaeger_remote: Annotated[Any, _OTHER_SAMPLERS] = Field(default=None, alias="jaeger_remote/development")
    probability: Annotated[Any, _OTHER_SAMPLERS] = Field(default=None, alias="probability/development")


def _only(sampler: str) -> BeforeValidator:
    """What a parent said is followed, as by default: nothing else is there."""

    def check(value: object) -> object:
        if value is not None and not (isinstance(value, dict) and list(value) == [sampler]):
            raise ValueError(f"only {sampler} is there, as by default")
        return value

    return BeforeValidator(check)


class ParentBasedModel(Model):
    root: RootSamplerModel | None = None
    remote_parent_sampled: Annotated[Any, _only("always_on")] = None
    remote_parent_not_sampled: Annotated[Any, _only("always_off")] = None
    local_parent_sampled: Annotated[Any, _only("always_on")] = None
    local_parent_not_sampled: Annotated[Any, _only("always_off")] = None


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
    pull: Annotated[Any, Absent("periodic is there; a Collector can offer Prometheus what it gets by OTLP")] = None


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

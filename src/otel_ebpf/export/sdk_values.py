"""What spans and metrics have in common, from OTLP's messages to the SDK's objects."""

from collections.abc import Iterable

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope as ScopeMessage
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.types import AttributeValue


def attributes(pairs: Iterable[KeyValue]) -> dict[str, AttributeValue]:
    """Attributes as the SDK has them."""
    return {pair.key: value for pair in pairs if (value := _value(pair.value)) is not None}


def _value(value: AnyValue) -> AttributeValue | None:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(item.string_value for item in value.array_value.values)
    return getattr(value, kind) if kind in {"string_value", "int_value", "double_value", "bool_value"} else None


def resource(message: ResourceMessage, schema_url: str) -> Resource:
    """The process's own: nothing of this one's environment is added."""
    return Resource(attributes(message.attributes), schema_url)


def scope(message: ScopeMessage, schema_url: str) -> InstrumentationScope:
    """Who made it: us."""
    return InstrumentationScope(message.name, message.version, schema_url)

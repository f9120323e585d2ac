"""OTLP in JSON.

Source: OTLP specification 1.x, "JSON Protobuf Encoding": protobuf's own mapping, but trace and span ids are
hexadecimal and enums are numbers.
"""

import base64
import json
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message

_IDS: Final = ("traceId", "spanId", "parentSpanId")
# Where ids can be. What is an attribute's never looks like these: its name is a value, under "key".
_WAY: Final = (
    *("resourceSpans", "scopeSpans", "spans", "links"),
    *("resourceMetrics", "scopeMetrics", "metrics", "gauge", "sum", "histogram", "exponentialHistogram"),
    *("dataPoints", "exemplars"),
)


def encode(message: Message) -> bytes:
    """A request as JSON."""
    document = json_format.MessageToDict(message, use_integers_for_enums=True)
    _ids_as_hex(document)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def decode(text: bytes, kind: type[Message]) -> Message | None:
    """An answer, None if it is none."""
    try:
        return json_format.Parse(text, kind(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError):
        return None


def _ids_as_hex(node: dict[str, Any]) -> None:
    for key in _IDS:
        if key in node:
            node[key] = base64.b64decode(node[key]).hex()
    for key in _WAY:
        below = node.get(key)
        for child in below if isinstance(below, list) else (below,):
            if isinstance(child, dict):  # a histogram's sum is a number
                _ids_as_hex(child)

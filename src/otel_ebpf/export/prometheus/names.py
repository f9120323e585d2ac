"""Names as Prometheus has them: OpenTelemetry's compatibility specification, "Metric Metadata" and "Attributes"."""

import functools
import re
from collections.abc import Mapping
from typing import Final

# UCUM to what people say; the specification's examples, and those that the conventions use.
_UNITS: Final[Mapping[str, str]] = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
    "1": "",
}
_PER: Final[Mapping[str, str]] = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}


@functools.cache
def unit_name(unit: str) -> str:
    """`seconds` of `s`, `bytes_per_second` of `By/s`; "" of `{request}` and of `1`."""
    plain = re.sub(r"\{[^}]*\}", "", unit).strip()
    counted, slash, per = plain.partition("/")
    name = _UNITS.get(counted, counted)
    if slash and per:
        name = "_".join(part for part in (name, "per", _PER.get(per, per)) if part)
    return _only(name, "a-zA-Z0-9_").strip("_")


@functools.cache
def metric_name(name: str, unit: str, kind: str) -> str:
    """The family's name: of a counter without `_total`, which its samples have."""
    suffix = "ratio" if unit == "1" and kind == "gauge" else unit_name(unit)
    clean = _only(name, "a-zA-Z0-9_:").strip("_")
    if kind == "counter":
        clean = clean.removesuffix("_total")
    if suffix and not clean.endswith(f"_{suffix}"):
        clean = f"{clean}_{suffix}"
    return f"_{clean}" if clean[:1].isdigit() else clean


@functools.cache
def label_name(key: str) -> str:
    """An attribute's key as a label's name."""
    clean = _only(key, "a-zA-Z0-9_")
    return f"key_{clean}" if not clean[:1].isalpha() and not clean.startswith("_") else clean


def _only(text: str, allowed: str) -> str:
    return re.sub(r"_+", "_", re.sub(f"[^{allowed}]", "_", text))

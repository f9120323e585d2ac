"""Our names are the conventions'."""

import importlib
import pkgutil

from opentelemetry.semconv import schemas
from opentelemetry.semconv._incubating import attributes

from otel_ebpf import semconv

# `otel.metric.overflow` is the specification's, not the conventions'.
OTHERS = {"SCHEMA_URL", "SCOPE_NAME", "METRIC_OVERFLOW"}


def _published() -> set[str]:
    names: set[str] = set()
    for module in pkgutil.iter_modules(attributes.__path__):
        loaded = importlib.import_module(f"{attributes.__name__}.{module.name}")
        names |= {value for value in vars(loaded).values() if isinstance(value, str)}
    return names


def test_every_attribute_name_is_one_of_the_published_ones() -> None:
    ours = {name: value for name, value in vars(semconv).items() if name.isupper() and name not in OTHERS}
    assert ours
    published = _published()
    assert {name: value for name, value in ours.items() if value not in published} == {}


def test_the_schema_url_has_the_published_form() -> None:
    newest = list(schemas.Schemas)[-1].value
    assert semconv.SCHEMA_URL.rpartition("/")[0] == newest.rpartition("/")[0]

"""What is written down of the configuration is what the code does."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from otel_ebpf.config.reference import json_schema, with_tables

REPOSITORY = Path(__file__).parents[3]
SCHEMA = REPOSITORY / "src/otel_ebpf/config/schema.json"


def test_the_schema_that_is_shipped_is_the_one_that_holds() -> None:
    assert SCHEMA.read_text() == json_schema(), "run `make docs`"


@pytest.mark.parametrize("name", ["configuration.md", "migrating-from-obi.md"])
def test_the_tables_are_what_the_code_says(name: str) -> None:
    text = (REPOSITORY / "docs" / name).read_text()
    assert "by `make docs`" in text
    assert text == with_tables(text), "run `make docs`"


def test_the_annotated_example_names_every_key_of_ours() -> None:
    text = (REPOSITORY / "config/default.yaml").read_text()
    properties = json.loads(SCHEMA.read_text())["$defs"]["OurModel"]["properties"]
    assert [key for key in properties if f" {key}:" not in text] == []


def validate(document: Any) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)


def test_an_editor_takes_the_annotated_example() -> None:
    validate(yaml.safe_load((REPOSITORY / "config/default.yaml").read_text()))


@pytest.mark.parametrize(
    "mistake",
    [
        {},
        {"file_format": "1.0", "tracer_provder": {}},
        {"file_format": "1.0", "distribution": {"otel_ebpf": {"http": {"routes": "guess"}}}},
        {"file_format": "1.0", "distribution": {"otel_ebpf": {"queue": {"max_bytes": 1}}}},
        {"file_format": "1.0", "meter_provider": {"readers": [{"periodic": {}}]}},
    ],
)
def test_an_editor_shows_mistakes(mistake: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate(mistake)


def test_an_editor_takes_one_value_or_a_list() -> None:
    rules = [{"executable": "nginx", "port": 80}, {"executable": ["a", "b"], "port": [80, "8000-8100"], "pid": 3}]
    ours = {"selection": {"include": rules}}
    validate({"file_format": "1.1", "distribution": {"otel_ebpf": ours, "other": {"x": 1}}})

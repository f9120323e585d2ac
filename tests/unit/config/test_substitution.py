"""Variables in the file, by the specification's own examples."""

from pathlib import Path

import pytest

from otel_ebpf.config.document import parse
from otel_ebpf.config.substitution import substitute

# The specification's table (configuration data model): these variables, these values.
VARIABLES = {
    "STRING_VALUE": "value",
    "BOOL_VALUE": "true",
    "INT_VALUE": "1",
    "FLOAT_VALUE": "1.1",
    "HEX_VALUE": "0xdeadbeef",
    "INVALID_MAP_VALUE": "value\nkey:value",
    "DO_NOT_REPLACE_ME": "Never use this value",
    "REPLACE_ME": "${DO_NOT_REPLACE_ME}",
    "VALUE_WITH_ESCAPE": "value$$",
    "EMPTY": "",
}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${STRING_VALUE}", "value"),
        ("${BOOL_VALUE}", True),
        ("${INT_VALUE}", 1),
        ("${FLOAT_VALUE}", 1.1),
        ("${HEX_VALUE}", 3735928559),
        ('"${STRING_VALUE}"', "value"),
        ('"${BOOL_VALUE}"', "true"),
        ('"${INT_VALUE}"', "1"),
        ("'${FLOAT_VALUE}'", "1.1"),
        ("${env:STRING_VALUE}", "value"),
        ("${INVALID_MAP_VALUE}", "value\nkey:value"),
        ("foo ${STRING_VALUE} ${FLOAT_VALUE}", "foo value 1.1"),
        ("${UNDEFINED_KEY}", None),
        ("${EMPTY}", None),
        ('"${UNDEFINED_KEY}"', ""),
        ("${UNDEFINED_KEY:-fallback}", "fallback"),
        ("${EMPTY:-fallback}", "fallback"),
        ("${UNDEFINED_KEY:-12}", 12),
        ("${REPLACE_ME}", "${DO_NOT_REPLACE_ME}"),
        ("${UNDEFINED_KEY:-${STRING_VALUE}}", "${STRING_VALUE}"),
        ("$${STRING_VALUE}", "${STRING_VALUE}"),
        ("$$${STRING_VALUE}", "$value"),
        ("$$$${STRING_VALUE}", "$${STRING_VALUE}"),
        ("a $$ b", "a $ b"),
        ("a $ b", "a $ b"),
        ("${VALUE_WITH_ESCAPE}", "value$$"),
    ],
)
def test_a_value(written: str, meant: object) -> None:
    assert parse(f"key: {written}\n", "f", VARIABLES).content == {"key": meant}


def test_keys_are_left_alone() -> None:
    assert parse("${STRING_VALUE}: 1", "f", VARIABLES).content == {"${STRING_VALUE}": 1}


@pytest.mark.parametrize("bad", ["${1X}", "${A-b}", "${A B}", "${}", "${X"])
def test_what_only_looks_like_a_reference_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="is not a reference"):
        substitute(bad, VARIABLES)


def test_lines_are_known(tmp_path: Path) -> None:
    document = parse("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n", "f", {})
    assert document.line(("a",)) == 1
    assert document.line(("a", "c", 1, "y")) == 5
    assert document.line(("a", "c", 1, "nothing", "there")) == 5

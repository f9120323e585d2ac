"""What is written down of the configuration: its JSON schema, and the tables of docs/configuration.md.

`make docs` writes both; tests find them out of date.
"""

import json
from typing import Final

from otel_ebpf.config.catalogue import OURS, SETTINGS, Setting
from otel_ebpf.config.effective import plain
from otel_ebpf.config.kinds import written
from otel_ebpf.config.obi import ADVICE, SAME
from otel_ebpf.config.schema import FileModel

SETTINGS_BEGIN: Final = "<!-- settings by `make docs` from src/otel_ebpf/config/catalogue.py -->"
VARIABLES_BEGIN: Final = "<!-- variables by `make docs` from src/otel_ebpf/config/obi.py -->"
END: Final = "<!-- until here -->"


def json_schema() -> str:
    """Of the whole file."""
    schema = FileModel.model_json_schema(by_alias=True)
    schema["title"] = "otel-ebpf: OpenTelemetry's declarative configuration as this agent understands it"
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def settings() -> str:
    """A table of all settings."""
    rows = [
        "| setting | what | values | default | file | variable | flag | live |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [_row(setting) for setting in SETTINGS]
    return "\n".join(rows)


def _row(setting: Setting) -> str:
    said = written(setting.kind, plain(setting.default()))
    shown = "" if said in (None, "", []) else f"`{json.dumps(said) if not isinstance(said, str) else said}`"
    key = setting.key.removeprefix(OURS) if not setting.by_hand else setting.key
    ours = "… " if not setting.by_hand else ""
    cells = (
        f"`{setting.name}`",
        setting.about,
        str(setting.kind).replace("|", "\\|"),
        shown,
        f"{ours}`{key}`",
        " ".join(f"`{name}`" for name in setting.env),
        setting.flag and f"`{setting.flag}`",
        "yes" if setting.live else "restart",
    )
    return "| " + " | ".join(cells) + " |"


def variables() -> str:
    """A table of OBI's variables."""
    same = dict.fromkeys(SAME, "the same")
    rows = [f"| `{name}` | {text} |" for name, text in sorted({**ADVICE, **same}.items())]
    return "\n".join(["| OBI | here |", "|---|---|", *rows])


def with_tables(text: str) -> str:
    """A document with its generated parts as they are to be."""
    for begin, table in ((SETTINGS_BEGIN, settings), (VARIABLES_BEGIN, variables)):
        before, found, rest = text.partition(begin)
        if found:
            text = f"{before}{begin}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"
    return text

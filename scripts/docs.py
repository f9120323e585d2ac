"""Writes down what the code says of the configuration: the JSON schema, and tables in docs/."""

from pathlib import Path

from otel_ebpf.config.reference import json_schema, with_tables

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = ("configuration.md", "migrating-from-obi.md")

if __name__ == "__main__":
    (REPOSITORY / "src/otel_ebpf/config/schema.json").write_text(json_schema(), encoding="utf-8")
    for name in DOCUMENTS:
        document = REPOSITORY / "docs" / name
        document.write_text(with_tables(document.read_text(encoding="utf-8")), encoding="utf-8")

"""`otel-ebpf config` as typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def typed(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-m", "otel_ebpf", "config", *args],
        capture_output=True,
        text=True,
        env={**clean, **env},
        timeout=60,
        check=False,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


def test_a_valid_file_is_said_to_be_so(file: Path) -> None:
    file.write_text('file_format: "1.0"\n')
    done = typed("validate", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: valid\n", "")
    assert typed("validate", OTEL_CONFIG_FILE=str(file)).stdout == done.stdout
    assert typed("validate").stdout == "the environment: valid\n"


def test_an_invalid_one_is_refused_with_every_mistake(file: Path) -> None:
    file.write_text('file_format: "1.0"\ndistribution:\n  otel_ebpf: {spans: 1, http: {routes: x}}\n')
    done = typed("validate", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"otel-ebpf: {file}:3: ")
    assert "did you mean spans_per_second?" in done.stderr
    assert "'infer' or 'unset'" in done.stderr
    assert "Traceback" not in done.stderr


def test_strict_refuses_what_would_be_ignored(file: Path) -> None:
    file.write_text('file_format: "1.0"\nlogger_provider: {processors: []}\n')
    lenient, strict = typed("validate", str(file)), typed("validate", "--strict", str(file))
    assert lenient.returncode == 0
    assert "logger_provider: has no effect here" in lenient.stderr
    assert strict.returncode == 2
    assert "1 warnings, and --strict takes none" in strict.stderr
    assert typed("validate", "--strict", OTEL_TRACES_SAMPLER="mostly").returncode == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "tracer_provider: {processors: [{batch: {exporter: {console: }}}]}",
            "console: not there in this agent; distribu",
        ),
        ("tracer_provider: {processors: [{simple: {exporter: {}}}]}", "simple: not there in this agent; batch is"),
        ("tracer_provider: {sampler: {composite/development: {}}}", "composite/development: not there in this agent"),
    ],
)
def test_what_the_standard_has_and_this_agent_lacks_is_an_error_with_advice(file: Path, text: str, said: str) -> None:
    file.write_text(f'file_format: "1.0"\n{text}\n')
    done = typed("validate", str(file))
    assert done.returncode == 2
    assert f"{file}:2: " in done.stderr
    assert said in done.stderr


def test_show_has_flags_as_run_would(file: Path) -> None:
    file.write_text('file_format: "1.0"\ndistribution: {otel_ebpf: {spans_per_second: 5}}\n')
    done = typed("show", "--config", str(file), "--changed", "--", "--port", "80", "--exclude-exe", "curl", "-q")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "selection.include",
        "selection.exclude",
        "traces.spans_per_second",
        "output.lines",
    ]
    assert [line.split("  ")[-1].strip() for line in done.stdout.splitlines()] == [
        "--port",
        "--exclude-exe",
        f"{file}:2",
        "--quiet",
    ]
    rows = json.loads(typed("show", "-o", "json", "--", "--stats", "--metrics-only").stdout)
    origins = {row["name"]: row["origin"]["where"] for row in rows if row["origin"]["kind"] == "flag"}
    assert origins == {
        "output.stats": "--stats",
        "traces.exporters": "--metrics-only",
        "traces.target.url": "--metrics-only",
    }
    assert typed("show", "--changed").stdout == "everything is as by default\n"


def test_show_as_yaml_is_a_valid_file(file: Path) -> None:
    file.write_text(typed("show", "-o", "yaml", OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4318").stdout)
    assert typed("validate", "--strict", str(file)).returncode == 0


def test_show_refuses_what_run_would() -> None:
    done = typed("show", "--", "--prot", "80")
    assert done.returncode == 2
    assert "Did you mean '--port'?" in done.stderr
    assert typed("show", "--config", "/nonexistent.yaml").returncode == 2


def test_the_schema_is_printed() -> None:
    assert json.loads(typed("schema").stdout)["required"] == ["file_format"]


def test_help_teaches_by_example() -> None:
    for args, said in (((), "otel-ebpf config validate"), (("show",), "--changed --"), (("validate",), "Exit codes")):
        assert said in typed(*args, "--help").stdout

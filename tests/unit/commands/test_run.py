"""`otel-ebpf run` as typed: what flags mean, and what is refused before anything is attached."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from otel_ebpf.commands import run as room
from otel_ebpf.commands.main import cli
from otel_ebpf.config.settings import Rule, Selection, Settings


def settings_for(monkeypatch: pytest.MonkeyPatch, *args: str, env: dict[str, str] | None = None) -> Settings:
    """The settings that a command line leads to."""
    got: list[Settings] = []
    monkeypatch.setattr(room, "_run", lambda settings, *_: got.append(settings))
    clean = {name: None for name in os.environ if name.startswith("OTEL_")}
    done = CliRunner(env={**clean, **(env or {})}).invoke(cli, ["run", *args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return got[0]


def test_plain_run_watches_everything_and_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for(monkeypatch)
    assert settings.selection == Selection()
    assert settings.shows_lines


def test_flags_make_one_rule_and_exclusions_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "--exe nginx --exe envoy --port 80,8000-8100 --port 443 --pid 7 --cgroup /a* --service shop"
    exclusions = "--exclude-exe curl --exclude-port 22 --exclude-pid 8 --exclude-cgroup /b --exclude-service x"
    selection = settings_for(monkeypatch, *line.split(), *exclusions.split()).selection
    assert selection.include == (
        Rule(("nginx", "envoy"), ((80, 80), (8000, 8100), (443, 443)), (7,), ("/a*",), ("shop",)),
    )
    assert set(selection.exclude) == {
        Rule(executables=("curl",)),
        Rule(ports=((22, 22),)),
        Rule(pids=(8,)),
        Rule(cgroups=("/b",)),
        Rule(services=("x",)),
    }


def test_flags_go_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        'file_format: "1.0"\ndistribution: {otel_ebpf: {spans_per_second: 5, output: {format: json},'
        " selection: {include: [{executable: a}], exclude: [{pid: 1}]}}}\n"
    )
    from_file = settings_for(monkeypatch, env={"OTEL_CONFIG_FILE": str(file)})
    assert from_file.selection == Selection((Rule(("a",)),), (Rule(pids=(1,)),))
    assert (from_file.traces.spans_per_second, from_file.output.format) == (5, "json")
    options = ["--config", str(file), "--exe", "b", "--exclude-pid", "2", "--spans-per-second", "0", "-o", "text"]
    both = settings_for(monkeypatch, *options)
    assert both.selection == Selection((Rule(("b",)),), (Rule(pids=(1,)), Rule(pids=(2,))))
    assert (both.traces.spans_per_second, both.output.format) == (0, "text")


@pytest.mark.parametrize(
    ("options", "backend", "shown"),
    [
        ([], False, True),
        ([], True, False),
        (["--lines"], True, True),
        (["-o", "json"], True, True),
        (["--quiet"], False, False),
        (["-q"], False, False),
        (["--no-lines"], False, False),
        (["-o", "json", "-q"], True, False),
    ],
)
def test_when_lines_are_shown(monkeypatch: pytest.MonkeyPatch, options: list[str], backend: bool, shown: bool) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"} if backend else {}
    assert settings_for(monkeypatch, *options, env=env).shows_lines == shown


def test_metrics_only_makes_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}
    settings = settings_for(monkeypatch, "--metrics-only", env=env)
    assert settings.traces.target is None
    assert settings.metrics.target is not None


def typed(*args: str, stdout: Any = subprocess.PIPE, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "otel_ebpf", *args],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("args", "env", "said"),
    [
        (["--port", "99999"], {}, "ports go from 1 to 65535"),
        (["--port", "http"], {}, "is not a port or a range of ports such as 8080 or 8000-8100"),
        (["--prot", "80"], {}, "Did you mean '--port'?"),
        (["--config", "/nonexistent.yaml"], {}, "/nonexistent.yaml: No such file or directory"),
        ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317"}, "is not a URL such as http://localhost:4318"),
        ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "GRPC"}, "http/protobuf"),
    ],
)
def test_what_cant_be_is_refused_with_exit_code_2(args: list[str], env: dict[str, str], said: str) -> None:
    done = typed("run", *args, **env)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_help_teaches_by_example() -> None:
    text = typed("run", "--help").stdout
    assert "sudo otel-ebpf run --port 8080" in text
    for kind in ("exe", "port", "pid", "cgroup", "service"):
        assert f"--{kind} " in text
        assert f"--exclude-{kind} " in text
    assert max(map(len, text.splitlines())) <= 120


def test_output_that_is_full_or_gone() -> None:
    with Path("/dev/full").open("w") as full:
        done = typed("run", "--help", stdout=full)
    assert (done.returncode, done.stderr) == (5, "otel-ebpf: standard output: No space left on device\n")
    reading, writing = os.pipe()
    os.close(reading)
    done = typed("--help", stdout=writing)
    os.close(writing)
    # click's own way with a closed pipe; what matters is that nothing is said.
    assert (done.returncode, done.stderr) == (1, "")


def test_closed_standard_files_are_not_taken_by_something_else() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m otel_ebpf --version >&- 2>&- <&-', sys.executable], check=False, timeout=60
    )
    assert done.returncode == 0


def test_every_command_of_the_table_is_there() -> None:
    assert isinstance(cli, click.Group)
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.get_short_help_str()
    assert cli.get_command(context, "nothing") is None

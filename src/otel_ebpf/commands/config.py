"""`otel-ebpf config`: what is configured, by whom, and whether it can be."""

import logging
import os
from importlib import resources
from typing import Any

import click

from otel_ebpf.commands import run
from otel_ebpf.commands.flags import load_all, log_to_stderr
from otel_ebpf.config.effective import as_json, as_text, as_yaml, effective
from otel_ebpf.config.load import config_path, load
from otel_ebpf.errors import ConfigError


class _Warnings(logging.Handler):
    """Counts what was warned about."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, _record: logging.LogRecord) -> None:
        self.count += 1


@click.group("config")
def command() -> None:
    """Check a configuration, or see what holds and who decided on it.

    \b
    Examples:
      otel-ebpf config validate /etc/otel-ebpf/config.yaml
      otel-ebpf config show                       what the environment comes to
      otel-ebpf config show --config c.yaml -o yaml > all.yaml
      otel-ebpf config schema > schema.json       for editors

    docs/configuration.md has every setting.
    """


@command.command("validate")
@click.argument("file", required=False)
@click.option("--strict", is_flag=True, help="What would be ignored with a warning is refused, too.")
def validate(file: str | None, strict: bool) -> None:
    """Say whether `otel-ebpf run` would start with FILE; without one, with what the environment says.

    Every mistake is named by file, line and key, with what would be right. Nothing is attached, no backend is asked,
    and no privileges are needed: it fits a pre-commit hook or a CI job.

    \b
    Examples:
      otel-ebpf config validate c.yaml && sudo mv c.yaml /etc/otel-ebpf/config.yaml   a running agent sees it
      otel-ebpf config validate --strict          the environment, or OTEL_CONFIG_FILE

    \b
    Exit codes: 0 valid, 2 not.
    """
    log_to_stderr()
    warnings = _Warnings()
    logging.getLogger("otel_ebpf").addHandler(warnings)
    path = config_path(file, os.environ)
    load(path, os.environ)
    if strict and warnings.count:
        raise ConfigError(f"{path or 'the environment'}: {warnings.count} warnings, and --strict takes none")
    click.echo(f"{path or 'the environment'}: valid")


@command.command("show")
@click.option("--config", metavar="FILE", help="Declarative configuration (OTEL_CONFIG_FILE).")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["text", "yaml", "json"]),
    default="text",
    help="A table, a file that would say the same, or JSON.",
)
@click.option("--changed", is_flag=True, help="Only what is not as by default (text and JSON).")
@click.argument("run_options", nargs=-1, type=click.UNPROCESSED)
def show(config: str | None, form: str, changed: bool, run_options: tuple[str, ...]) -> None:
    """Show the value of every setting, and its origin: default, a variable, a line of the file, or a flag.

    What stands behind `--` is understood as `otel-ebpf run` would. Secrets (values of headers, credentials and
    parameters of URLs) are masked. Names are those of docs/configuration.md, seconds and bytes their units; YAML has
    the file's keys and units.

    \b
    Examples:
      otel-ebpf config show
      otel-ebpf config show --changed -- --port 8080 --quiet
      otel-ebpf config show -o json | jq '.[] | select(.origin.kind == "environment")'

    \b
    Exit codes: 0 shown, 2 invalid configuration.
    """
    log_to_stderr()
    options: dict[str, Any] = run.command.make_context("otel-ebpf run", list(run_options)).params
    loaded = load_all({**options, "config": config or options["config"]}, os.environ)
    shown = [one for one in effective(loaded) if not changed or one.origin.kind != "default"]
    match form:
        case "yaml":
            click.echo(as_yaml(loaded))
        case "json":
            click.echo(as_json(shown))
        case _ if shown:
            click.echo(as_text(shown))
        case _:
            click.echo("everything is as by default")


@command.command("schema")
def schema() -> None:
    """Print the JSON schema of the configuration file.

    \b
    For editors that speak YAML's language server, as the file's first line:
      # yaml-language-server: $schema=/path/to/schema.json
    """
    click.echo(resources.files("otel_ebpf.config").joinpath("schema.json").read_text(encoding="utf-8"), nl=False)

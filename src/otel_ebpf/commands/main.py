"""The program's entry: finds the subcommand, and is the only place that turns an error into an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from otel_ebpf import __version__
from otel_ebpf.errors import AgentError, OutputClosed, OutputError

# Imported when asked for: the daemon loads no code of the others.
_COMMANDS: Final = {
    "run": "otel_ebpf.commands.run",
    "check": "otel_ebpf.commands.check",
    "why": "otel_ebpf.commands.why",
    "config": "otel_ebpf.commands.config",
}


class _Commands(click.Group):
    """Each subcommand is `command` in a module of its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in _COMMANDS:
            return None
        try:
            command = importlib.import_module(_COMMANDS[cmd_name]).command
        except ImportError as error:
            raise AgentError(
                f"this installation is incomplete: {error}", "run `make setup` once more, or reinstall the wheel"
            ) from error
        return command if isinstance(command, click.Command) else None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="otel-ebpf")
def cli() -> None:
    """See every request of every process on this machine, and send it to any OpenTelemetry backend.

    \b
    Start here:
      sudo otel-ebpf check     can this machine be watched?
      sudo otel-ebpf run       watch it
      sudo otel-ebpf why POD   which rule switched a pod on, or off?
      otel-ebpf config show    what is configured, and by whom?
    """


def main(args: Sequence[str] | None = None) -> int:
    """Runs a command line (default: sys.argv's) and returns its exit code; errors.py lists them."""
    _open_standard_files()
    try:
        code = cli.main(args, prog_name="otel-ebpf", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except OutputClosed as error:
        code = error.exit_code
    except AgentError as error:
        _complain(str(error), error.hint)
        code = error.exit_code
    except BrokenPipeError:
        code = OutputClosed.exit_code
        _discard_output()
    except OSError as error:
        _complain(f"{error.filename or 'standard output'}: {error.strerror}", "")
        code = OutputError.exit_code
        _discard_output()
    return code if isinstance(code, int) else 0


def _discard_output() -> None:
    """Python flushes once more at exit, and would complain once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain(message: str, hint: str) -> None:
    click.echo(f"otel-ebpf: {message}", err=True)
    if hint:
        click.echo(f"  {hint}", err=True)


def _open_standard_files() -> None:
    """Fills descriptors 0 to 2 that the caller closed: else the next file opened, a BPF map, would be our output."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)

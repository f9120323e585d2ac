"""`otel-ebpf check`: what this machine can do and what it lacks."""

import json
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import click

from otel_ebpf.capture.host import Host
from otel_ebpf.capture.preflight import Finding, Status, preflight
from otel_ebpf.commands.tls import as_dict, attached_places, print_report
from otel_ebpf.discover.tls import TlsReport, describe

_SIGN: dict[Status, tuple[str, str]] = {"pass": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}
_WORST: tuple[Status, ...] = ("fail", "warn", "pass")


@click.command("check")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the findings.")
@click.option("--fix", is_flag=True, help="Mount tracefs, debugfs and bpffs where they are missing; nothing else.")
@click.option("--pid", type=click.IntRange(min=1), help="Say also what TLS this process uses, and where it is seen.")
def command(output: str, fix: bool, pid: int | None) -> None:
    """Says for each thing that capture depends on: pass, warn or fail, why, and how to fix it.

    Changes nothing, unless --fix is given. Exits with 1 if something fails, else with 0.
    """
    report = describe(pid) if pid else None
    findings = preflight(Host())
    if fix:
        for finding in findings:
            if finding.mount:
                _mount(*finding.mount)
        findings = preflight(Host())
    worst = next(status for status in _WORST if any(finding.status == status for finding in findings))
    if output == "json":
        checks = {"status": worst, "checks": [_as_dict(finding) for finding in findings]}
        click.echo(json.dumps(checks | _tls(report), indent=2))
    else:
        _print(findings)
        if report:
            click.echo()
            print_report(report, attached_places(report))
    if worst == "fail":
        raise click.exceptions.Exit(1)


def _mount(fstype: str, path: str) -> None:
    if not Path(path).is_dir():
        click.echo(f"{path} is not there: this kernel has no {fstype}", err=True)
        return
    done = subprocess.run(["mount", "-t", fstype, fstype, path], capture_output=True, text=True, check=False)
    click.echo(done.stderr.strip() or f"mounted {fstype} at {path}", err=True)


def _as_dict(finding: Finding) -> dict[str, str]:
    return {key: getattr(finding, key) for key in ("id", "title", "status", "why", "fix")}


def _tls(report: TlsReport | None) -> dict[str, object]:
    return {"tls": as_dict(report, attached_places(report))} if report else {}


def _print(findings: list[Finding]) -> None:
    indent = 8 + max(len(finding.title) for finding in findings)
    for finding in findings:
        sign, colour = _SIGN[finding.status]
        head = f"{click.style(f'{sign:>4}', fg=colour)}  {finding.title:<{indent - 8}}  "
        click.echo(head + _wrapped(finding.why, indent))
        if finding.fix:
            click.echo(" " * indent + click.style("fix: ", bold=True) + _wrapped(finding.fix, indent + 5))
    counts = Counter(finding.status for finding in findings)
    click.echo(f"\n{counts['pass']} fine, {counts['warn']} to know, {counts['fail']} in the way")
    if counts["fail"]:
        click.echo("`otel-ebpf run` will not work here until what is in the way is gone.")


def _wrapped(text: str, indent: int) -> str:
    if not sys.stdout.isatty():
        return text  # a line is a finding, for grep
    width = max(shutil.get_terminal_size().columns, indent + 30)
    blank = " " * indent
    return textwrap.fill(text, width, initial_indent=blank, subsequent_indent=blank, break_on_hyphens=False).lstrip()

"""How `otel-ebpf check --pid` tells of a process's TLS."""

from dataclasses import asdict
from itertools import groupby
from typing import Final

import click

from otel_ebpf.discover.tls import Attachment, Finding, Probe, TlsReport

_DEAR: Final = "stepped over: 11 µs each"


def as_dict(report: TlsReport) -> dict[str, object]:
    """All of it; `result` says whether a file's TLS can be watched."""
    return {
        "pid": report.pid,
        "executable": report.executable,
        "files": [_file(finding) for finding in report.findings],
        "unreadable": list(report.unreadable),
    }


def print_report(report: TlsReport) -> None:
    """A line per file, and one per function."""
    click.echo(f"TLS of process {report.pid} ({report.executable or 'no executable'})")
    for finding in report.findings:
        watched = isinstance(finding, Attachment)
        sign = click.style("  ok", fg="green") if watched else click.style("  no", fg="yellow")
        click.echo(f"{sign}  {finding.implementation} {finding.version}".rstrip() + f"  {finding.name}")
        if isinstance(finding, Attachment):
            for function, probes in groupby(finding.probes, key=lambda probe: probe.function):
                click.echo(f"        {function:<25} {_places(list(probes))}")
            for note in finding.notes:
                click.echo(f"        {note}")
        else:
            click.echo(f"        {finding.reason}")
    for each in report.unreadable:
        click.echo(f"{click.style('   ?', fg='yellow')}  {each}")
    if not report.findings:
        click.echo("      no TLS that we know, in the files that it executes")


def _places(probes: list[Probe]) -> str:
    """`enter +0x35290 push r13, return ...`; of several stepped-over exits only the number."""
    dear = [probe for probe in probes if not probe.emulated]
    shown = [f"{probe.place} {probe.offset:#x} {probe.instruction}" for probe in probes if probe.emulated]
    shown += [f"{probe.place} {probe.offset:#x} {probe.instruction} ({_DEAR})" for probe in dear[:1]]
    if dear[1:]:
        shown.append(f"and {len(dear) - 1} more of these")
    return ", ".join(shown)


def _file(finding: Finding) -> dict[str, object]:
    return {"result": "attachable" if isinstance(finding, Attachment) else "refused", **asdict(finding)}

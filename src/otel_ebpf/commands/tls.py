"""How `otel-ebpf check --pid` tells of a process's TLS."""

from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Final

import click

from otel_ebpf.agent.tls import probed_offsets
from otel_ebpf.capture.bpfcall import Uprobes, uprobes
from otel_ebpf.discover.tls import Attachment, Finding, Probe, TlsReport

_PROGRAMS: Final = ("tls_enter", "tls_exit", "tls_free")
_DEAR: Final = "stepped over: 11 µs each"


def attached_places(report: TlsReport) -> dict[str, int] | None:
    """Of each file's places, how many an agent is attached to right now; None where that can't be known."""
    try:
        ours = [one for one in uprobes() if one.program in _PROGRAMS]
    except OSError:
        return None
    return {finding.path: len(probed_offsets(finding) & _offsets(ours, finding)) for finding in report.attachments}


def _offsets(probed: Iterable[Uprobes], finding: Attachment) -> set[int]:
    return {offset for one in probed if _is_file(one.path, finding) for offset in one.offsets}


def _is_file(path: str, finding: Attachment) -> bool:
    """The kernel's path of a file in another mount namespace may lead nowhere, or elsewhere, from here."""
    try:
        status = Path(path).stat()
    except OSError:
        return path == finding.name
    return (status.st_dev, status.st_ino) == (finding.device, finding.inode) or path == finding.name


def as_dict(report: TlsReport, attached: dict[str, int] | None) -> dict[str, object]:
    """All of it; `result` says whether a file's TLS can be watched, `attached` how many of its places are right now."""
    return {
        "pid": report.pid,
        "executable": report.executable,
        "files": [_file(finding, attached) for finding in report.findings],
        "unreadable": list(report.unreadable),
    }


def print_report(report: TlsReport, attached: dict[str, int] | None) -> None:
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
            click.echo(f"        {_state(finding, attached)}")
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


def _state(finding: Attachment, attached: dict[str, int] | None) -> str:
    places = len(probed_offsets(finding))
    if attached is None:
        return "attached right now: not known; only root may ask the kernel"
    if not (now := attached.get(finding.path)):
        return "attached right now: no; no agent runs that has met a process with this file"
    return f"attached right now: {'yes' if now == places else f'{now} of {places} places'}"


def _file(finding: Finding, attached: dict[str, int] | None) -> dict[str, object]:
    if not isinstance(finding, Attachment):
        return {"result": "refused", **asdict(finding)}
    now = None if attached is None else attached.get(finding.path, 0)
    return {"result": "attachable", "attached": now, **asdict(finding)}

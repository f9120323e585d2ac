"""`otel-ebpf why`: which rule decided about a pod."""

import json
import os
from dataclasses import replace

import click

from otel_ebpf.agent.kubernetes import access
from otel_ebpf.agent.why import Decision, Explanation, explain
from otel_ebpf.commands.tls import attached_places
from otel_ebpf.config.load import config_path, load
from otel_ebpf.discover.tls import Attachment, describe
from otel_ebpf.enrich.kubernetes import connect
from otel_ebpf.errors import AgentError


@click.command("why")
@click.argument("pod", metavar="[NAMESPACE/]POD")
@click.option("--config", type=click.Path(), help="The agent's configuration file. [OTEL_CONFIG_FILE]")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def command(pod: str, config: str | None, output: str) -> None:
    """Says for each process of a pod whether it is watched, and what each rule had to say.

    Rules are asked in order, and the first that says anything decides: exclusions of the configuration, the
    pod's annotations, its namespace's, inclusions of the configuration. On the pod's own node its processes
    are looked at; elsewhere only what holds for the whole container can be told. Options that a running
    agent was given on its command line are not known here.

    \b
    Examples:
      otel-ebpf why cart-5d9c7f-abcde
      otel-ebpf why shop/cart-5d9c7f-abcde -o json | jq '.decisions[].selected'
    """
    settings = load(config_path(config, os.environ), os.environ)
    kubernetes = settings.kubernetes
    how = access(replace(kubernetes, enabled=True) if kubernetes.enabled is None else kubernetes)
    if how is None:
        raise AgentError(
            "Kubernetes is switched off by the configuration: rules alone decide", "set kubernetes.enabled"
        )
    explanation = explain(pod, settings, how, connect(how))
    if output == "json":
        click.echo(json.dumps(_as_dict(explanation), indent=2))
    else:
        _print(explanation)


def _tls(decision: Decision) -> list[dict[str, object]]:
    """Libraries of a process that can be probed: at how many places, and how many of these are right now."""
    if decision.process is None:
        return []
    try:
        report = describe(decision.process.pid)
    except AgentError:  # it has ended
        return []
    attached = attached_places(report)
    return [
        {
            "file": found.name,
            "implementation": found.implementation,
            "attached": None if attached is None else attached.get(found.path, 0),
        }
        for found in report.findings
        if isinstance(found, Attachment)
    ]


def _as_dict(explanation: Explanation) -> dict[str, object]:
    pod = explanation.pod
    return {
        "namespace": pod.namespace,
        "pod": pod.name,
        "uid": pod.uid,
        "node": explanation.node,
        "on_this_node": explanation.here,
        "decisions": [
            {
                "container": one.container,
                "pid": one.process.pid if one.process else None,
                "executable": one.process.executable_path if one.process else None,
                "service": one.process.service_name if one.process else None,
                "selected": one.verdict.selected,
                "why": one.verdict.why,
                "rules": [{"rule": step.rule, "said": step.said, "decides": step.decides} for step in one.steps],
                "tls": _tls(one),
            }
            for one in explanation.decisions
        ],
    }


def _print(explanation: Explanation) -> None:
    pod = explanation.pod
    where = f"on node {explanation.node}" if explanation.node else "on no node yet"
    click.echo(f"pod {pod.namespace}/{pod.name} {where}")
    if not explanation.here:
        click.echo("  another node's: rules that name executables or services can't be told from here")
    for one in explanation.decisions:
        process = one.process
        who = f"pid {process.pid} ({process.executable_name})" if process else "whatever runs there"
        sign = click.style("watched", fg="green") if one.verdict.selected else click.style("left alone", fg="yellow")
        click.echo(f"\n  container {one.container or '(not known)'}, {who}: {sign}")
        width = max(len(step.rule) for step in one.steps)
        for step in one.steps:
            click.echo(f"    {'>' if step.decides else ' '} {step.rule:<{width}}  {step.said}")
        for library in _tls(one):
            match library["attached"]:
                case None:
                    state = "only root may ask whether it is probed"
                case 0:
                    state = "not probed right now"
                case places:
                    state = f"probed at {places} places right now"
            click.echo(f"      TLS in {library['file']} ({library['implementation']}): {state}")

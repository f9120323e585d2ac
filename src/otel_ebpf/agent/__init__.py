"""Wires the rooms together: see `agent`."""

from otel_ebpf.agent.agent import Agent, Control

__all__ = ["Agent", "Control"]

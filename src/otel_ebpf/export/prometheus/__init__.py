"""Metrics for Prometheus to fetch: the OTLP requests of `metrics`, translated by OpenTelemetry's rules.

    reading ── encoder ──► OTLP request ── families ──► text, OpenMetrics or protobuf

Source: OpenTelemetry's specification, compatibility/prometheus_and_openmetrics.md, as for a Collector: metrics of many
targets come from one place, and `job` and `instance` tell them apart.
"""

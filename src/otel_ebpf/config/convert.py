"""The validated file as settings."""

from dataclasses import replace
from typing import Literal, cast

from otel_ebpf.config import ours, schema, values
from otel_ebpf.config.environment import DEFAULT_ENDPOINT, DEFAULT_GRPC_ENDPOINT
from otel_ebpf.config.sampling import from_sampler, rules
from otel_ebpf.config.settings import (
    Metrics,
    OtlpTarget,
    Prometheus,
    Protocol,
    Rule,
    Sampling,
    Selection,
    Settings,
    Temporality,
    Traces,
)

# The standard's names (schema/common.yaml, SeverityNumber) without their levels 2 to 4.
_LOG_LEVELS: dict[str, Literal["debug", "info", "warning", "error"]] = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "error": "error",
    "fatal": "error",
}


def to_settings(file: schema.FileModel) -> Settings:
    """Raises values.Misplaced where keys that are valid each do not go together."""
    said = (file.distribution and file.distribution.otel_ebpf) or schema.OurModel()
    level = (file.log_level or "info").rstrip("234")
    if level not in _LOG_LEVELS:
        raise values.Misplaced(("log_level",), f"{file.log_level!r} is none of {', '.join(_LOG_LEVELS)}")
    settings = Settings(
        selection=_selection(said.selection),
        traces=_traces(file, said),
        metrics=_metrics(file),
        resource=_resource(file.resource),
        log_level=_LOG_LEVELS[level],
    )
    settings = ours.apply(settings, said)
    if not file.disabled:
        return settings
    return replace(
        settings,
        traces=replace(settings.traces, exporters=()),
        metrics=replace(settings.metrics, exporters=()),
    )


def _selection(model: schema.SelectionModel | None) -> Selection:
    if model is None:
        return Selection()

    def rules(models: list[schema.RuleModel] | None, key: str) -> tuple[Rule, ...]:
        converted = []
        for index, rule in enumerate(models or ()):
            if not rule.model_fields_set:
                fields = ", ".join(schema.RuleModel.model_fields)
                path = ("distribution", "otel_ebpf", "selection", key, index)
                raise values.Misplaced(path, f"a rule needs at least one of {fields}")
            converted.append(
                Rule(
                    executables=tuple(rule.executable),
                    ports=tuple(rule.port),
                    pids=tuple(rule.pid),
                    cgroups=tuple(rule.cgroup),
                    services=tuple(rule.service),
                    namespaces=tuple(rule.namespace),
                )
            )
        return tuple(converted)

    return Selection(rules(model.include, "include"), rules(model.exclude, "exclude"))


def _traces(file: schema.FileModel, said: schema.OurModel) -> Traces:
    provider = file.tracer_provider or schema.TracerProviderModel()
    sampler, sampler_arg, remote = from_sampler(provider.sampler)
    sampling = Sampling(rules=rules(said.sampling.rules if said.sampling else None), remote=remote)
    traces = Traces(sampler=sampler, sampler_arg=sampler_arg, sampling=sampling)
    batch = provider.processors[0].batch if provider.processors else None
    if file.disabled or batch is None:
        return traces
    path = ("tracer_provider", "processors", 0, "batch", "exporter")
    return replace(
        traces,
        target=_target(_exporter(batch.exporter, path), "traces", path),
        schedule_delay_s=traces.schedule_delay_s if batch.schedule_delay is None else batch.schedule_delay / 1000,
        batch_spans=batch.max_export_batch_size or traces.batch_spans,
    )


def _metrics(file: schema.FileModel) -> Metrics:
    provider = file.meter_provider or schema.MeterProviderModel()
    metrics = Metrics(exemplars=provider.exemplar_filter or "trace_based")
    if file.disabled:
        return metrics
    for index, reader in enumerate(provider.readers or ()):
        path = ("meter_provider", "readers", index)
        if len(reader.model_fields_set) != 1:
            raise values.Misplaced(path, "one of periodic and pull, and nothing else")
        if reader.pull:
            if metrics.prometheus:
                raise values.Misplaced(path, "there is one that Prometheus pulls already")
            # The key alone says which: `prometheus/development:` has no value.
            model = reader.pull.exporter.prometheus or schema.PrometheusModel()
            prometheus = Prometheus()
            metrics = replace(
                metrics, prometheus=Prometheus(model.host or prometheus.host, model.port or prometheus.port)
            )
        elif reader.periodic:
            if metrics.target:
                raise values.Misplaced(path, "there is one that pushes periodically already")
            metrics = _periodic(metrics, reader.periodic, (*path, "periodic", "exporter"))
    return metrics


def _periodic(metrics: Metrics, model: schema.PeriodicModel, path: tuple[str | int, ...]) -> Metrics:
    exporter = _exporter(model.exporter, path)
    preferences = exporter if isinstance(exporter, schema.MetricPreferences) else schema.MetricPreferences()
    preference = (preferences.temporality_preference or "cumulative").replace("_", "")
    return replace(
        metrics,
        target=_target(exporter, "metrics", path),
        interval_s=metrics.interval_s if model.interval is None else model.interval / 1000,
        temporality=cast("Temporality", preference),
        histograms=preferences.default_histogram_aggregation or "explicit_bucket_histogram",
    )


def _exporter(
    model: schema.SpanExporterModel | schema.MetricExporterModel, path: tuple[str | int, ...]
) -> schema.OtlpHttpModel | schema.OtlpGrpcModel:
    """The one that is there. The key alone says which: `otlp_grpc:` has no value."""
    if len(model.model_fields_set) > 1:
        raise values.Misplaced(path, "one exporter, not several")
    if "otlp_grpc" in model.model_fields_set:
        return model.otlp_grpc or schema.OtlpGrpcModel()
    return model.otlp_http or schema.OtlpHttpModel()


def _target(
    model: schema.OtlpHttpModel | schema.OtlpGrpcModel, signal: str, exporter: tuple[str | int, ...]
) -> OtlpTarget:
    path = (*exporter, "otlp_grpc" if isinstance(model, schema.OtlpGrpcModel) else "otlp_http")
    tls = model.tls or schema.TlsModel()
    try:
        headers = dict(values.parse_pairs(model.headers_list or ""))
    except ValueError as error:
        raise values.Misplaced((*path, "headers_list"), "not of the form key=value,key=value") from error
    headers.update({header.name: header.value or "" for header in model.headers or ()})
    if isinstance(model, schema.OtlpGrpcModel):
        protocol: Protocol = "grpc"
        insecure = bool(model.tls and model.tls.insecure)
        try:
            url = values.grpc_url(model.endpoint or DEFAULT_GRPC_ENDPOINT, insecure=insecure)
        except ValueError as error:
            raise values.Misplaced((*path, "endpoint"), str(error)) from error
    else:
        protocol = "http/json" if model.encoding == "json" else "http/protobuf"
        url = model.endpoint or values.signal_url(DEFAULT_ENDPOINT, signal)
    return OtlpTarget(
        url=url,
        protocol=protocol,
        headers=tuple(headers.items()),
        compression=model.compression or "none",
        # The standard's 0 is "no limit"; a day is, for one request.
        timeout_s=10.0 if model.timeout is None else model.timeout / 1000 or 86400.0,
        ca_file=tls.ca_file or "",
        client_certificate_file=tls.cert_file or "",
        client_key_file=tls.key_file or "",
    )


def _resource(model: schema.ResourceModel | None) -> tuple[tuple[str, str], ...]:
    if model is None:
        return ()
    try:
        attributes = dict(values.parse_pairs(model.attributes_list or ""))
    except ValueError as error:
        raise values.Misplaced(("resource", "attributes_list"), str(error)) from error
    attributes.update({item.name: str(item.value) for item in model.attributes or () if item.value is not None})
    return tuple(attributes.items())

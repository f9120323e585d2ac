"""The file's samplers and sampling rules as settings."""

from typing import cast

from otel_ebpf.config import schema, values
from otel_ebpf.config.remote import sampling_url
from otel_ebpf.config.settings import RemoteSampling, Sampler, SamplingRule


def from_sampler(model: schema.SamplerModel | None) -> tuple[Sampler, float, RemoteSampling]:
    """OTEL_TRACES_SAMPLER's name and argument. The key alone says which: `always_on:` has no value."""
    remote = RemoteSampling()
    if model is None or not model.model_fields_set:
        return "parentbased_always_on", 1.0, remote
    path: tuple[str | int, ...] = ("tracer_provider", "sampler")
    chosen: schema.RootSamplerModel = model
    prefix = ""
    if "parent_based" in model.model_fields_set:
        _one(model, path)
        prefix, path = "parentbased_", (*path, "parent_based", "root")
        chosen = (model.parent_based and model.parent_based.root) or schema.RootSamplerModel(always_on={})
    _one(chosen, path)
    if asked := chosen.jaeger_remote:
        interval_s = remote.interval_s if asked.interval is None else asked.interval / 1000
        remote = RemoteSampling(sampling_url(asked.endpoint), interval_s)
        _one(asked.initial_sampler, (*path, "jaeger_remote/development", "initial_sampler"))
        return cast("Sampler", f"{prefix}jaeger_remote"), _rate(asked.initial_sampler), remote
    if "always_on" in chosen.model_fields_set or "always_off" in chosen.model_fields_set:
        name = "always_off" if "always_off" in chosen.model_fields_set else "always_on"
        return cast("Sampler", prefix + name), 1.0, remote
    return cast("Sampler", f"{prefix}traceidratio"), _rate(chosen), remote


def rules(models: list[schema.SamplingRuleModel] | None) -> tuple[SamplingRule, ...]:
    """`distribution.otel_ebpf.sampling.rules`. Raises values.Misplaced."""
    converted = []
    for index, rule in enumerate(models or ()):
        if (rule.sampler is None) == (rule.ratio is None):
            path = ("distribution", "otel_ebpf", "sampling", "rules", index)
            raise values.Misplaced(path, "a rule has either a ratio or a sampler: always_on or always_off")
        probability = rule.ratio if rule.sampler is None else {"always_on": 1.0, "always_off": None}[rule.sampler]
        converted.append(SamplingRule(rule.service, rule.route, probability))
    return tuple(converted)


def _one(model: schema.BasicSamplerModel, path: tuple[str | int, ...]) -> None:
    if len(model.model_fields_set) > 1:
        raise values.Misplaced(path, "one sampler, not several")


def _rate(model: schema.BasicSamplerModel) -> float:
    if "always_off" in model.model_fields_set:
        return 0.0
    ratio = (model.trace_id_ratio_based or model.probability or schema.RatioModel()).ratio
    return 1.0 if ratio is None else ratio

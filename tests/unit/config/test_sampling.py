"""Samplers and sampling rules, as people write them."""

from pathlib import Path

import pytest

from otel_ebpf.config.environment import from_environment
from otel_ebpf.config.file import load_file
from otel_ebpf.config.settings import RemoteSampling, Sampling, SamplingRule, Settings
from otel_ebpf.errors import ConfigError

JAEGER = "http://localhost:5778/sampling"


def from_text(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "config.yaml"
    path.write_text(f'file_format: "1.0"\n{text}')
    return load_file(path, {})[0]


@pytest.mark.parametrize(
    ("argument", "remote", "rate"),
    [
        ("", RemoteSampling(JAEGER, 60.0), 0.001),
        ("endpoint=http://jaeger:5778", RemoteSampling("http://jaeger:5778/sampling", 60.0), 0.001),
        (
            "endpoint=https://j/a/sampling?service=x, pollingIntervalMs=5000,initialSamplingRate=0.25",
            RemoteSampling("https://j/a/sampling?service=x", 5.0),
            0.25,
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", "parentbased_"])
def test_jaeger_remote_by_environment(prefix: str, argument: str, remote: RemoteSampling, rate: float) -> None:
    variables = {"OTEL_TRACES_SAMPLER": f"{prefix}jaeger_remote", "OTEL_TRACES_SAMPLER_ARG": argument}
    traces = from_environment(variables).traces
    assert (traces.sampler, traces.sampler_arg) == (f"{prefix}jaeger_remote", rate)
    assert traces.sampling == Sampling(remote=remote)


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("endpoint=jaeger:14250", "'jaeger:14250' is not a URL"),
        ("http://jaeger:5778", "'http://jaeger:5778' is none of endpoint=URL, pollingIntervalMs=N and"),
        ("pollingIntervalMs=0", "'0' is not an interval in milliseconds"),
        ("initialSamplingRate=2", "'2' is not a rate from 0 to 1"),
        ("initialSamplingRate=nan", "'nan' is not a rate from 0 to 1"),
    ],
)
def test_a_server_that_cannot_be_one_refuses_to_start(argument: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match="OTEL_TRACES_SAMPLER_ARG") as caught:
        from_environment({"OTEL_TRACES_SAMPLER": "jaeger_remote", "OTEL_TRACES_SAMPLER_ARG": argument})
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (
            "jaeger_remote/development: {endpoint: 'http://j:5778', interval: 1000, initial_sampler: {always_off: }}",
            ("jaeger_remote", 0.0, RemoteSampling("http://j:5778/sampling", 1.0)),
        ),
        (
            "parent_based: {root: {jaeger_remote/development: {endpoint: 'http://j:1/s', "
            "initial_sampler: {trace_id_ratio_based: {ratio: 0.5}}}}}",
            ("parentbased_jaeger_remote", 0.5, RemoteSampling("http://j:1/s", 60.0)),
        ),
        ("probability/development: {ratio: 0.1}", ("traceidratio", 0.1, RemoteSampling())),
    ],
)
def test_samplers_by_file(tmp_path: Path, sampler: str, expected: tuple[str, float, RemoteSampling]) -> None:
    traces = from_text(tmp_path, f"tracer_provider:\n  sampler:\n    {sampler}\n").traces
    assert (traces.sampler, traces.sampler_arg, traces.sampling.remote) == expected


def test_rules_keep_and_budgets_by_file(tmp_path: Path) -> None:
    text = """
distribution:
  otel_ebpf:
    sampling:
      rules:
        - {route: /health*, sampler: always_off}
        - {service: shop*, ratio: 0.25}
        - {service: cart, route: "GET *", sampler: always_on}
      keep: {errors: false, slower_than_ms: 250, share: 0.5}
      spans_per_second_per_service: 100
"""
    assert from_text(tmp_path, text).traces.sampling == Sampling(
        rules=(
            SamplingRule(route="/health*"),
            SamplingRule("shop*", probability=0.25),
            SamplingRule("cart", "GET *", 1.0),
        ),
        keep_errors=False,
        keep_slower_than_s=0.25,
        keep_share=0.5,
        spans_per_second_per_service=100,
    )
    assert from_text(tmp_path, "distribution: {otel_ebpf: {sampling: }}\n").traces.sampling == Sampling()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "distribution: {otel_ebpf: {sampling: {rules: [{service: a}]}}}\n",
            "config.yaml:2: distribution.otel_ebpf.sampling.rules[0]: a rule has either a ratio or a sampler",
        ),
        (
            "distribution: {otel_ebpf: {sampling: {rules: [{ratio: 1, sampler: always_on}]}}}\n",
            "rules[0]: a rule has either a ratio or a sampler",
        ),
        ("distribution: {otel_ebpf: {sampling: {rules: [{ratio: 2}]}}}\n", "less than or equal to 1"),
        ("distribution: {otel_ebpf: {sampling: {keep: {share: 0}}}}\n", "greater than or equal to 0.01"),
        (
            "tracer_provider: {sampler: {parent_based: {root: {always_on: , always_off: }}}}\n",
            "tracer_provider.sampler.parent_based.root: one sampler, not several",
        ),
        (
            "tracer_provider: {sampler: {jaeger_remote/development: {endpoint: x, initial_sampler: {}}}}\n",
            "jaeger_remote/development.endpoint: 'x' is not a URL",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_text(tmp_path, text)
    assert expected in str(caught.value)

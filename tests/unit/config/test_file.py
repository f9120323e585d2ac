"""The configuration file: what it says is done, and what is wrong in it is named by line, key and remedy."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from otel_ebpf.config.load import config_path, load
from otel_ebpf.config.settings import Kubernetes, OtlpTarget, Rule, Selection, Settings
from otel_ebpf.errors import ConfigError

REPOSITORY = Path(__file__).parents[3]
DEFAULT = REPOSITORY / "config" / "default.yaml"


def from_text(tmp_path: Path, text: str, variables: Mapping[str, str] | None = None) -> Settings:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load(path, variables or {})


def complaint(tmp_path: Path, text: str, variables: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        from_text(tmp_path, text, variables)
    assert refused.value.exit_code == 2
    return str(refused.value).replace(str(tmp_path) + "/", "")


def test_the_annotated_example_is_valid_and_says_the_defaults() -> None:
    settings, defaults = load(DEFAULT, {}), Settings()
    assert settings.selection == defaults.selection
    assert settings.http == defaults.http
    assert settings.capture == defaults.capture
    assert settings.queue == defaults.queue
    assert settings.output == defaults.output
    assert settings.kubernetes == defaults.kubernetes
    assert settings.command_args == defaults.command_args
    assert settings.log_level == defaults.log_level
    assert settings.traces.target is not None
    assert settings.traces.target.url == "http://localhost:4318/v1/traces"
    for ours, theirs in ((settings.traces, defaults.traces), (settings.metrics, defaults.metrics)):
        names = set(type(ours).__slots__) - {"target"}
        assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}


def test_the_annotated_example_takes_the_endpoint_from_the_environment() -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://backend", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=k"}
    target = load(DEFAULT, variables).metrics.target
    assert target is not None
    assert (target.url, target.headers) == ("https://backend/v1/metrics", (("api-key", "k"),))


def test_the_commented_out_parts_of_the_annotated_example_are_valid_too(tmp_path: Path) -> None:
    text = DEFAULT.read_text().replace("include: []", "include:").replace("exclude: []", "exclude:")
    text = re.sub(r"^( +)#(  - |    )", r"\1 \2", text, flags=re.MULTILINE)
    text = re.sub(r"^( +)# (tls:|  \w+_file:|lines:|directory:)", r"\1\2", text, flags=re.MULTILINE)
    settings = from_text(tmp_path, text)
    assert len(settings.selection.include) == 5
    assert len(settings.selection.exclude) == 2
    assert settings.output.lines is True
    assert settings.queue.directory == "/var/lib/otel-ebpf/queue"


def test_a_file_is_all_that_counts(tmp_path: Path) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere:4318", "OTEL_TRACES_SAMPLER": "always_off"}
    assert from_text(tmp_path, 'file_format: "1.0"', variables) == Settings()


def test_the_flag_goes_before_the_variable() -> None:
    variables = {"OTEL_CONFIG_FILE": "/etc/a.yaml"}
    assert config_path("/b.yaml", variables) == Path("/b.yaml")
    assert config_path(None, variables) == Path("/etc/a.yaml")
    assert config_path(None, {"OTEL_CONFIG_FILE": ""}) is None


def test_rules_take_one_value_or_a_list(tmp_path: Path) -> None:
    settings = from_text(
        tmp_path,
        """
file_format: "1.0"
distribution:
  otel_ebpf:
    selection:
      include:
        - {executable: [nginx, "gunicorn*"], port: [80, "8000-8100"]}
        - {pid: 17, cgroup: "/kubepods*"}
      exclude:
        - {service: shop, port: "22,23"}
""",
    )
    assert settings.selection == Selection(
        include=(
            Rule(executables=("nginx", "gunicorn*"), ports=((80, 80), (8000, 8100))),
            Rule(pids=(17,), cgroups=("/kubepods*",)),
        ),
        exclude=(Rule(services=("shop",), ports=((22, 22), (23, 23))),),
    )


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        ("always_on:", ("always_on", 1.0)),
        ("always_off: {}", ("always_off", 1.0)),
        ("trace_id_ratio_based: {ratio: 0.1}", ("traceidratio", 0.1)),
        ("parent_based: {root: {trace_id_ratio_based: {ratio: 0}}}", ("parentbased_traceidratio", 0.0)),
        ("parent_based: {root: {always_off: }}", ("parentbased_always_off", 1.0)),
        ("parent_based:", ("parentbased_always_on", 1.0)),
        (
            "parent_based: {remote_parent_sampled: {always_on: }, local_parent_not_sampled: {always_off: {}}}",
            ("parentbased_always_on", 1.0),
        ),
    ],
)
def test_samplers(tmp_path: Path, sampler: str, expected: tuple[str, float]) -> None:
    traces = from_text(tmp_path, f'file_format: "1.0"\ntracer_provider:\n  sampler:\n    {sampler}\n').traces
    assert (traces.sampler, traces.sampler_arg) == expected


def test_exporters_have_the_standards_meaning(tmp_path: Path) -> None:
    settings = from_text(
        tmp_path,
        """
file_format: "1.1"
resource:
  attributes_list: a=1,b=2
  attributes: [{name: b, value: "3"}]
tracer_provider:
  processors:
    - batch:
        schedule_delay: 200
        exporter:
          otlp_http:
            endpoint: https://c/v1/traces
            headers: [{name: api-key, value: k}]
            headers_list: api-key=other,x=y
            compression: gzip
            timeout: 1500
            tls: {ca_file: /ca.pem}
meter_provider:
  readers:
    - periodic:
        interval: 1000
        exporter: {otlp_http: {temporality_preference: low_memory}}
""",
    )
    target = settings.traces.target
    assert target is not None
    assert target.url == "https://c/v1/traces"
    assert dict(target.headers) == {"api-key": "k", "x": "y"}
    assert (target.compression, target.timeout_s, target.ca_file) == ("gzip", 1.5, "/ca.pem")
    assert settings.traces.schedule_delay_s == 0.2
    assert settings.metrics.target is not None
    assert settings.metrics.target.url == "http://localhost:4318/v1/metrics"
    assert (settings.metrics.interval_s, settings.metrics.temporality) == (1.0, "lowmemory")
    assert dict(settings.resource) == {"a": "1", "b": "3"}


def test_exporters_over_grpc_and_in_json(tmp_path: Path) -> None:
    settings = from_text(
        tmp_path,
        """
file_format: "1.0"
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp_grpc:
            endpoint: c:4317
            headers: [{name: api-key, value: k}]
            compression: gzip
            timeout: 1500
            tls: {ca_file: /ca.pem, insecure: true}
meter_provider:
  readers:
    - periodic: {exporter: {otlp_grpc: {temporality_preference: delta}}}
""",
    )
    assert settings.traces.target == OtlpTarget(
        "http://c:4317", "grpc", (("api-key", "k"),), "gzip", timeout_s=1.5, ca_file="/ca.pem"
    )
    assert settings.metrics.target == OtlpTarget("http://localhost:4317", "grpc")
    assert settings.metrics.temporality == "delta"
    batch = 'file_format: "1.0"\ntracer_provider: {processors: [{batch: {exporter: {%s}}}]}\n'
    assert from_text(tmp_path, batch % "otlp_grpc: ").traces.target == OtlpTarget("http://localhost:4317", "grpc")
    in_json = OtlpTarget("http://localhost:4318/v1/traces", "http/json")
    assert from_text(tmp_path, batch % "otlp_http: {encoding: json}").traces.target == in_json


def test_disabled_sends_nothing(tmp_path: Path) -> None:
    text = DEFAULT.read_text() + "\ndisabled: true\n"
    settings = from_text(tmp_path, text)
    assert settings.traces.target is None
    assert settings.metrics.target is None


OURS = 'file_format: "1.0"\ndistribution:\n  otel_ebpf:\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            OURS + "    selection:\n      inclde: []\n",
            "config.yaml:5: distribution.otel_ebpf.selection.inclde: unknown key; did you mean include?",
        ),
        (
            OURS + "    selection:\n      include:\n        - {executable: a}\n        - {exe: nginx}\n",
            "config.yaml:7: distribution.otel_ebpf.selection.include[1].exe: unknown key; did you mean executable?",
        ),
        (
            OURS + "    zzz: 1\n",
            "config.yaml:4: distribution.otel_ebpf.zzz: unknown key; known here: selection, spans_per_second,",
        ),
        (
            OURS + '    spans_per_second: "many"\n',
            "config.yaml:4: distribution.otel_ebpf.spans_per_second: input should be a valid integer",
        ),
        (OURS + "    capture: {ring_bytes: 1000000}\n", "1000000 is not a power of two"),
        (OURS + "    kubernetes: {enabled: 1}\n", "kubernetes.enabled"),
        (OURS + "    kubernetes: {annotation_prefix: otel-ebpf}\n", "is not a domain with a slash behind it"),
        (OURS + "    kubernetes: {node: a}\n", "did you mean node_name?"),
        (OURS + "    http: {routes: guess}\n", "input should be 'infer' or 'unset'"),
        (
            OURS + "    selection:\n      include:\n        - port: 70000\n",
            "config.yaml:6: distribution.otel_ebpf.selection.include[0].port: '70000': ports go from 1 to 65535",
        ),
        (
            OURS + "    selection:\n      include:\n        - {}\n",
            "config.yaml:6: distribution.otel_ebpf.selection.include[0]: a rule needs at least one of executable,",
        ),
        ('file_format: "0.3"\n', "config.yaml:1: file_format: '0.3' is not a version that is understood; \"1.0\" is"),
        ("resource: {}\n", "config.yaml:1: file_format: is required"),
        ("- a\n", 'it begins with `file_format: "1.0"`'),
        ("", 'it begins with `file_format: "1.0"`'),
        (
            'file_format: "1.0"\ntracer_provder: {}\n',
            "config.yaml:2: tracer_provder: unknown key; did you mean tracer_pro",
        ),
        (
            'file_format: "1.0"\nmeter_provider:\n  readers:\n  - periodic: {exporter: {otlp_htp: }}\n',
            "config.yaml:4: meter_provider.readers[0].periodic.exporter.otlp_htp: unknown key; did you mean otlp_http",
        ),
        (
            'file_format: "1.0"\nmeter_provider:\n  readers:\n  - periodic: {exporter: {otlp_grpc: , otlp_http: }}\n',
            "config.yaml:4: meter_provider.readers[0].periodic.exporter: one exporter, not several",
        ),
        (
            'file_format: "1.0"\nmeter_provider:\n  readers:\n  - periodic: {exporter: {otlp_grpc: {endpoint: "a b://"}}}\n',
            "config.yaml:4: meter_provider.readers[0].periodic.exporter.otlp_grpc.endpoint: 'a b://' is not a URL",
        ),
        ('file_format: "1.0"\na: [1\n', "config.yaml:3: expected ',' or ']'"),
        ('file_format: "1.0"\nlog_level: info\nlog_level: warn\n', "config.yaml:3: log_level is there twice"),
        ('file_format: "1.0"\nlog_level: loud\n', "config.yaml:2: log_level: 'loud' is none of trace, debug"),
        ('file_format: "1.0"\nresource: &a {attributes: [*a]}\n', "config.yaml:2: an alias that contains itself"),
        ('file_format: "1.0"\nlog_level: ${1X}\n', "config.yaml:2: ${1X} is not a reference such as ${VAR}"),
        (
            'file_format: "1.0"\ntracer_provider: {sampler: {parent_based: {remote_parent_sampled: {always_off: }}}}\n',
            "sampler.parent_based.remote_parent_sampled: only always_on is there, as by default",
        ),
        (
            'file_format: "1.0"\ntracer_provider: {sampler: {always_on: , always_off: }}\n',
            "config.yaml:2: tracer_provider.sampler: one sampler, not several",
        ),
    ],
)
def test_mistakes_are_named_by_line_key_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in complaint(tmp_path, text)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    told = complaint(tmp_path, OURS + "    a: 1\n    b: 2\n").splitlines()
    assert [line.split(": ")[0] for line in told] == ["config.yaml:4", "config.yaml:5"]


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(Path("/nonexistent/config.yaml"), {})


def test_what_has_no_meaning_here_is_said_and_harmless(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        text = 'file_format: "1.0"\npropagator: {composite: [{tracecontext: }]}\nlogger_provider: {processors: []}\n'
        assert from_text(tmp_path, text) == Settings()
    assert "config.yaml:2: propagator: has no effect here" in caplog.text
    assert "config.yaml:3: logger_provider: has no effect here" in caplog.text


def test_other_distributions_may_stand_in_the_same_file(tmp_path: Path) -> None:
    assert from_text(tmp_path, 'file_format: "1.0"\ndistribution: {other: {x: 1}}\n') == Settings()


def test_merge_keys_work(tmp_path: Path) -> None:
    text = """
file_format: "1.0"
distribution:
  otel_ebpf:
    selection:
      include:
        - &web {executable: nginx, port: 80}
        - {<<: *web, port: 81}
"""
    ports = [rule.ports for rule in from_text(tmp_path, text).selection.include]
    assert ports == [((80, 80),), ((81, 81),)]


def test_kubernetes(tmp_path: Path) -> None:
    names = "node_name: a, cluster_name: b, kubeconfig: /k, annotation_prefix: example.com/"
    settings = from_text(
        tmp_path,
        OURS + f"    kubernetes: {{enabled: true, {names}}}\n"
        "    selection: {exclude: [{namespace: [kube-*, prod]}]}\n",
    )
    assert settings.kubernetes == Kubernetes(True, "a", "b", "/k", "example.com/")
    assert settings.selection.exclude == (Rule(namespaces=("kube-*", "prod")),)

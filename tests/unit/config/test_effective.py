"""What `otel-ebpf config show` says: everything, with its origin, and no secret."""

import json
from pathlib import Path

import pytest

from otel_ebpf.config.catalogue import SETTINGS
from otel_ebpf.config.effective import as_json, as_text, as_yaml, effective
from otel_ebpf.config.load import load, load_with_origins
from otel_ebpf.config.settings import Settings

FULL = """
file_format: "1.0"
log_level: warn2
resource:
  attributes: [{name: a, value: "1"}]
tracer_provider:
  sampler: {parent_based: {root: {trace_id_ratio_based: {ratio: 0.25}}}}
  processors:
    - batch:
        schedule_delay: 250
        exporter:
          otlp_grpc:
            endpoint: ${BACKEND:-https://backend}
            timeout: 1500
            tls: {ca_file: /ca.pem, cert_file: /c.pem, key_file: /k.pem}
meter_provider:
  readers:
    - periodic:
        interval: 1000
        exporter: {otlp_http: {encoding: json, compression: zstd, temporality_preference: low_memory}}
distribution:
  otel_ebpf:
    selection:
      include: [{executable: [nginx], port: [80, "8000-8100"]}, {namespace: "prod-*"}]
      exclude: [{pid: 7, cgroup: /a, service: shop}]
    capture: {ring_bytes: 8192, tls: false}
    kubernetes: {enabled: true}
    output: {lines: false}
"""


def written(tmp_path: Path, text: str, name: str = "config.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", [FULL, 'file_format: "1.0"\n'])
def test_as_a_file_it_says_the_same(tmp_path: Path, text: str) -> None:
    first = load_with_origins(written(tmp_path, text), {})
    again = load(written(tmp_path, as_yaml(first), "again.yaml"), {})
    assert again == first.settings


def test_every_setting_is_shown_with_its_origin(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    shown = {one.setting.name: one for one in effective(load_with_origins(path, {"BACKEND": "https://b:1"}))}
    assert set(shown) == {setting.name for setting in SETTINGS}
    assert str(shown["traces.target.url"].origin) == f"{path}:13, through BACKEND"
    assert shown["traces.target.url"].value == "https://b:1"
    assert str(shown["metrics.target.url"].origin) == "default"
    assert str(shown["metrics.interval_s"].origin) == f"{path}:19"
    assert str(shown["capture.tls"].origin) == f"{path}:26"
    assert str(shown["queue.max_bytes"].origin) == "default"


def test_origins_in_the_environment_are_the_variables_that_count() -> None:
    loaded = load_with_origins(
        None,
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://base:4318",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://own:4318/in",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "never",
            "OTEL_EBPF_HTTP_ROUTES": "unset",
            "OTEL_EBPF_QUEUE_MAX_BYTES": "1",
        },
    )
    origins = {name: str(origin) for name, origin in loaded.origins.items()}
    assert origins == {
        "traces.target.url": "environment OTEL_EXPORTER_OTLP_ENDPOINT",
        "metrics.target.url": "environment OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "http.routes": "environment OTEL_EBPF_HTTP_ROUTES",
    }


def test_no_secret_is_shown_in_any_form() -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:canary1@backend:4318/?x=canary2",
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=canary3,authorization=Bearer canary4",
    }
    loaded = load_with_origins(None, variables)
    for text in (as_text(effective(loaded)), as_json(effective(loaded)), as_yaml(loaded)):
        assert "canary" not in text
        assert "api-key" in text
        assert "https://REDACTED@backend:4318/v1/traces?x=REDACTED" in text


def test_json_is_for_programs() -> None:
    rows = {row["name"]: row for row in json.loads(as_json(effective(load_with_origins(None, {}))))}
    assert rows["traces.target.url"]["value"] is None
    assert rows["traces.spans_per_second"] == {
        "name": "traces.spans_per_second",
        "value": Settings().traces.spans_per_second,
        "origin": {"kind": "default", "where": "", "through": []},
        "key": "distribution.otel_ebpf.spans_per_second",
        "environment": ["OTEL_EBPF_SPANS_PER_SECOND"],
        "flag": "--spans-per-second",
        "live": True,
    }

"""OTEL_* variables mean here what they mean to every zero-code SDK."""

import pytest

from otel_ebpf.config.environment import from_environment
from otel_ebpf.config.settings import Kubernetes, OtlpTarget, Prometheus, Queue, Settings
from otel_ebpf.errors import ConfigError


def test_nothing_set_is_the_defaults_and_goes_nowhere() -> None:
    assert from_environment({}) == Settings()
    assert Settings().shows_lines


def test_empty_is_unset() -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_TRACES_SAMPLER": " ", "OTEL_METRIC_EXPORT_INTERVAL": ""}
    assert from_environment(variables) == Settings()


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://example.com/otlp?tenant=1", "https://example.com/otlp/v1/traces?tenant=1"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
    ],
)
def test_the_base_endpoint_gets_the_signals_path(base: str, url: str) -> None:
    settings = from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": base})
    assert settings.traces.target is not None
    assert settings.traces.target.url == url
    assert settings.metrics.target is not None
    assert not settings.shows_lines


def test_a_signals_endpoint_is_used_as_it_is_and_for_that_signal_only() -> None:
    settings = from_environment({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/in"})
    assert settings.traces.target is not None
    assert settings.traces.target.url == "http://collector:4318/in"
    assert settings.metrics.target is None


def test_asking_for_otlp_by_name_goes_to_the_usual_place() -> None:
    target = from_environment({"OTEL_TRACES_EXPORTER": "otlp"}).traces.target
    assert target is not None
    assert target.url == "http://localhost:4318/v1/traces"


@pytest.mark.parametrize(("text", "enabled"), [("", None), ("autodetect", None), ("true", True), ("False", False)])
def test_kubernetes_by_the_names_that_obi_gave_its_variables(text: str, enabled: bool | None) -> None:
    variables = {"OTEL_EBPF_KUBE_METADATA_ENABLE": text, "OTEL_EBPF_KUBE_CLUSTER_NAME": "prod"}
    assert from_environment(variables).kubernetes == Kubernetes(enabled, cluster_name="prod")


def test_none_switches_a_signal_off() -> None:
    settings = from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_METRICS_EXPORTER": "none"})
    assert settings.metrics.target is None
    assert settings.traces.target is not None


@pytest.mark.parametrize(("value", "off"), [("true", True), ("TRUE", True), ("1", False), ("yes", False), ("", False)])
def test_only_true_disables(value: str, off: bool) -> None:
    settings = from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": value})
    assert (settings.traces.target is None) == off


def test_a_signals_own_settings_go_before_the_common_ones() -> None:
    target = from_environment(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://c",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20abc, x-tenant = 7",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "5000",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "2500",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/c.pem",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/c.key",
        }
    ).traces.target
    assert target is not None
    assert target.headers == (("authorization", "Basic abc"), ("x-tenant", "7"))
    assert (target.timeout_s, target.compression) == (2.5, "gzip")
    assert (target.ca_file, target.client_certificate_file, target.client_key_file) == ("/ca.pem", "/c.pem", "/c.key")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "nan"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "both"),
        ("OTEL_LOG_LEVEL", "loud"),
        ("OTEL_RESOURCE_ATTRIBUTES", "just-text"),
    ],
)
def test_what_cant_be_understood_warns_and_is_ignored(name: str, value: str, caplog: pytest.LogCaptureFixture) -> None:
    assert from_environment({name: value}) == Settings()
    assert name in caplog.text


def test_a_malformed_header_list_is_not_shown_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_HEADERS": "s3cret"})
    assert "OTEL_EXPORTER_OTLP_HEADERS" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://c:4317", "http://", "http://c:port", "http://[::1"])
def test_an_endpoint_that_is_no_url_refuses_to_start(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT.*is not a URL such as") as refused:
        from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
    assert refused.value.exit_code == 2


def test_a_protocol_that_we_do_not_speak_refuses_to_start() -> None:
    with pytest.raises(ConfigError, match="OTLP over thrift is not there: only http/protobuf, http/json, grpc"):
        from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "thrift"})


def over_grpc(endpoint: str = "", **variables: str) -> OtlpTarget:
    target = from_environment(
        {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            **variables,
        }
    ).traces.target
    assert target is not None
    assert target.protocol == "grpc"
    return target


@pytest.mark.parametrize(
    ("endpoint", "insecure", "url"),
    [
        ("", "", "http://localhost:4317"),
        ("http://c:4317/", "false", "http://c:4317"),
        ("https://c:4317", "true", "https://c:4317"),
        ("c:4317", "", "https://c:4317"),
        ("c:4317", "false", "https://c:4317"),
        ("c:4317", "True", "http://c:4317"),
        ("http://c", "", "http://c:4317"),
        ("c", "true", "http://c:4317"),
        ("https://c", "", "https://c:443"),
        ("http://me:p@[::1]:4317", "", "http://me:p@[::1]:4317"),
        ("http://[::1]", "", "http://[::1]:4317"),
    ],
)
def test_grpcs_endpoint_gets_no_path_and_its_scheme_goes_before_insecure(
    endpoint: str, insecure: str, url: str
) -> None:
    assert over_grpc(endpoint, OTEL_EXPORTER_OTLP_INSECURE=insecure).url == url


def test_zstd_is_none_of_grpcs_compressions(caplog: pytest.LogCaptureFixture) -> None:
    assert over_grpc("http://c", OTEL_EXPORTER_OTLP_COMPRESSION="zstd").compression == "none"
    assert "OTEL_EXPORTER_OTLP_COMPRESSION=zstd: not one of none, gzip; ignored" in caplog.text
    over_http = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}
    assert from_environment(over_http).traces.target == OtlpTarget("http://c/v1/traces", compression="zstd")


def test_a_signals_own_insecure_goes_before_the_common_one() -> None:
    own = {"OTEL_EXPORTER_OTLP_TRACES_INSECURE": "false", "OTEL_EXPORTER_OTLP_INSECURE": "true"}
    assert over_grpc("c:4317", **own).url == "https://c:4317"


@pytest.mark.parametrize("endpoint", ["grpc://c:4317", "http://c:4317/v1/traces", "https://c?a=b", "c:port", "unix:/c"])
def test_an_endpoint_that_is_none_of_grpcs_refuses_to_start(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        over_grpc(endpoint)


def test_each_signal_has_its_protocol() -> None:
    settings = from_environment(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4317",
        }
    )
    assert settings.traces.target == OtlpTarget("http://c:4318/v1/traces", "http/json")
    assert settings.metrics.target == OtlpTarget("http://c:4317", "grpc")


def test_sampler_resource_interval_and_temporality() -> None:
    settings = from_environment(
        {
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod%2Ceu,service.name=other",
            "OTEL_SERVICE_NAME": "node-agent",
            "OTEL_METRIC_EXPORT_INTERVAL": "250",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "Delta",
            "OTEL_METRICS_EXEMPLAR_FILTER": "always_on",
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_LOG_LEVEL": "warn",
        }
    )
    assert (settings.traces.sampler, settings.traces.sampler_arg) == ("parentbased_traceidratio", 0.25)
    assert dict(settings.resource) == {"deployment.environment.name": "prod,eu", "service.name": "node-agent"}
    assert (settings.metrics.interval_s, settings.metrics.temporality) == (0.25, "delta")
    assert settings.metrics.exponential
    assert (settings.metrics.exemplars, from_environment({}).metrics.exemplars) == ("always_on", "trace_based")
    assert not from_environment({}).metrics.exponential
    assert (settings.traces.schedule_delay_s, settings.log_level) == (0.05, "warning")


def test_prometheus_alone_or_beside_otlp(caplog: pytest.LogCaptureFixture) -> None:
    backend = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}
    assert from_environment(backend).metrics.prometheus is None
    alone = from_environment({"OTEL_METRICS_EXPORTER": "prometheus", **backend})
    assert alone.metrics.prometheus == Prometheus("localhost", 9464)
    assert alone.metrics.target is None
    assert alone.traces.target is not None
    assert not from_environment({"OTEL_METRICS_EXPORTER": "prometheus"}).shows_lines
    where = {"OTEL_EXPORTER_PROMETHEUS_HOST": "::", "OTEL_EXPORTER_PROMETHEUS_PORT": "9000"}
    both = from_environment({"OTEL_METRICS_EXPORTER": "otlp, prometheus", **where}).metrics
    assert both.prometheus == Prometheus("::", 9000)
    assert both.target is not None
    assert both.target.url == "http://localhost:4318/v1/metrics"
    off = from_environment({"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_SDK_DISABLED": "true"})
    assert off.metrics.prometheus is None
    assert not caplog.messages
    wrong = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "70000"}
    assert from_environment(wrong).metrics.prometheus == Prometheus()
    assert "OTEL_EXPORTER_PROMETHEUS_PORT=70000" in caplog.text
    beside_another = from_environment({"OTEL_METRICS_EXPORTER": "prometheus,console"}).metrics
    assert (beside_another.prometheus, beside_another.exporters) == (Prometheus(), ("console",))


def test_what_means_nothing_here_is_told_of_by_name_only(caplog: pytest.LogCaptureFixture) -> None:
    from_environment(
        {
            "OTEL_BSP_MAX_QUEUE_SIZE": "secret",
            "OTEL_EXPORTER_OTLP_HEADERS": "a=b",
            "OTEL_SDK_DISABLED": "true",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_TRACES_EXPORTERS": "otlp",
            "OTEL_CONFIG_FILE": "/there",
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "",
            "PATH": "/bin",
        }
    )
    assert [record.getMessage() for record in caplog.records] == [
        "OTEL_BSP_MAX_QUEUE_SIZE is set, but has no meaning here",
        "OTEL_TRACES_EXPORTERS is set, but has no meaning here; did you mean OTEL_TRACES_EXPORTER?",
    ]


def test_the_queue_on_disk_is_off_until_it_has_a_directory(caplog: pytest.LogCaptureFixture) -> None:
    assert from_environment({}).queue.directory == ""
    variables = {
        "OTEL_EBPF_QUEUE_DIRECTORY": "/var/lib/otel-ebpf/queue",
        "OTEL_EBPF_QUEUE_MAX_BYTES": "1048576",
        "OTEL_EBPF_QUEUE_MAX_AGE_SECONDS": "3600",
    }
    assert from_environment(variables).queue == Queue("/var/lib/otel-ebpf/queue", 1 << 20, 3600.0)
    assert not caplog.records
    small = from_environment({**variables, "OTEL_EBPF_QUEUE_MAX_BYTES": "1000"})
    assert small.queue.max_bytes == Queue().max_bytes
    assert "OTEL_EBPF_QUEUE_MAX_BYTES=1000" in caplog.text

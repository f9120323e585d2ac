"""OBI's variables: honoured where they mean the same, else named in a warning that says ours."""

import fnmatch

import pytest

from otel_ebpf.config.catalogue import SETTINGS
from otel_ebpf.config.environment import from_environment
from otel_ebpf.config.obi import ADVICE, SAME, advice, duration_s, path_globs
from otel_ebpf.config.settings import Rule, Settings


def test_no_setting_takes_a_name_of_obi_for_something_else() -> None:
    ours = {name for setting in SETTINGS for name in setting.env}
    assert [name for name in sorted(ours - SAME) if advice(name) is not None] == []
    assert ours >= SAME
    assert not SAME & set(ADVICE)


@pytest.mark.parametrize("name", [*ADVICE, "OTEL_EBPF_NETWORK_SOURCE", "BEYLA_OPEN_PORT"])
def test_what_is_not_honoured_is_named(name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert from_environment({name: "1"}) == Settings()
    assert f"{name} has no meaning here: " in caplog.text


def test_the_advice_says_ours(caplog: pytest.LogCaptureFixture) -> None:
    from_environment({"OTEL_EBPF_OPEN_PORT": "80", "OTEL_EBPF_SYSTEM_WIDE": "true", "OTEL_EBPF_SPAN_PER_SECOND": "1"})
    assert "OTEL_EBPF_OPEN_PORT has no meaning here: here it is `--port`" in caplog.text
    assert "OTEL_EBPF_SYSTEM_WIDE has no meaning here: not needed here: every process is watched" in caplog.text
    assert "did you mean OTEL_EBPF_SPANS_PER_SECOND?" in caplog.text


def test_what_means_the_same_is_honoured() -> None:
    settings = from_environment(
        {
            "OTEL_EBPF_AUTO_TARGET_EXE": "{*/shop,/opt/*}",
            "OTEL_EBPF_LOG_LEVEL": "WARN",
            "OTEL_EBPF_METRICS_INTERVAL": "1m30s",
            "OTEL_EBPF_KUBE_METADATA_ENABLE": "true",
        }
    )
    assert settings.selection.include == (Rule(executables=("/*/shop", "/opt/*")),)
    assert (settings.log_level, settings.metrics.interval_s, settings.kubernetes.enabled) == ("warning", 90.0, True)
    both = {"OTEL_EBPF_METRICS_INTERVAL": "5s", "OTEL_METRIC_EXPORT_INTERVAL": "2000", "OTEL_LOG_LEVEL": "debug"}
    settings = from_environment({**both, "OTEL_EBPF_LOG_LEVEL": "ERROR"})
    assert (settings.metrics.interval_s, settings.log_level) == (2.0, "debug")


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("*", "/usr/bin/nginx", True),
        ("*nginx", "/usr/bin/nginx", True),
        ("*bin*x", "/usr/bin/nginx", True),
        ("*/nginx", "/usr/bin/nginx", True),
        ("*/nginx", "/usr/bin/nginx2", False),
        ("/usr/{s,}bin/nginx", "/usr/bin/nginx", True),
        ("/usr/{s,}bin/nginx", "/usr/sbin/nginx", True),
        ("*/{a,b}{1,2}", "/x/b1", True),
        ("*/{a,b}{1,2}", "/x/b3", False),
    ],
)
def test_globs_are_matched_with_the_whole_path(glob: str, path: str, matches: bool) -> None:
    assert any(fnmatch.fnmatchcase(path, one) for one in path_globs(glob)) is matches


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EBPF_AUTO_TARGET_EXE", "nginx"),
        ("OTEL_EBPF_METRICS_INTERVAL", "60"),
        ("OTEL_EBPF_METRICS_INTERVAL", "0s"),
        ("OTEL_EBPF_METRICS_INTERVAL", "s"),
        ("OTEL_EBPF_METRICS_INTERVAL", "1.2.3s"),
        ("OTEL_EBPF_LOG_LEVEL", "loud"),
    ],
)
def test_what_cant_be_understood_is_ignored_with_a_warning(
    name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert from_environment({name: value}) == Settings()
    assert f"{name}={value}: " in caplog.text


def test_durations_are_gos() -> None:
    assert [duration_s(text) for text in ("500ms", "1h", "1.5s", "1m1ms")] == [0.5, 3600.0, 1.5, 60.001]

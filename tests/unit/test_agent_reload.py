"""A running agent whose configuration changes: what can be taken over is, at once; what can't is named and stays."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.testbed.process import eventually
from tests.unit.backend import Answer, running_backend
from tests.unit.fakes import FakeCore, Process, spans_of
from tests.unit.test_agent import running, sending_to

from otel_ebpf.agent.reload import RELOADS, Reload, merged
from otel_ebpf.config.catalogue import SETTINGS, value_of, with_value
from otel_ebpf.config.load import load
from otel_ebpf.config.settings import OtlpTarget, Privacy, Settings
from otel_ebpf.errors import ConfigError

FILE = """
file_format: "1.0"
log_level: {level}
tracer_provider:
  sampler: {sampler}
  processors:
    - batch:
        schedule_delay: 20
        exporter: {{otlp_http: {{endpoint: "{url}/v1/traces", headers: [{{name: tenant, value: {tenant}}}]}}}}
distribution:
  otel_ebpf:
    spans_per_second: {budget}
    command_args: {args}
    privacy: {{attributes: {{drop: {drop}}}}}
    selection: {{exclude: [{{executable: {exclude}}}]}}
"""


def text(url: str, **changed: str) -> str:
    words = {
        "level": "info",
        "sampler": "{always_on: }",
        "tenant": "a",
        "budget": "100",
        "args": "false",
        "drop": "[]",
        "exclude": "nobody",
    }
    return FILE.format(url=url, **{**words, **changed})


def put(path: Path, content: str) -> None:
    """As editors do it: the new file is renamed over the old one."""
    beside = path.with_name(path.name + "~")
    beside.write_text(content)
    beside.rename(path)


def test_all_that_is_live_changes_without_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.yaml"
    with running_backend() as old, running_backend() as new, caplog.at_level(logging.INFO):
        put(path, text(old.url))
        core = FakeCore(processes=[Process(1, 0, comm="shop")])
        with running(core, load(path, {}), Reload(lambda: load(path, {}), path)) as run:
            core.spans.append(spans_of(1, "before"))
            eventually(lambda: old.span_names() == ["before"], "the first backend has it")
            put(
                path,
                text(
                    new.url,
                    sampler="{parent_based: {root: {trace_id_ratio_based: {ratio: 0.5}}}}",
                    tenant="b",
                    budget="7",
                    args="true",
                    drop="[url.query]",
                    exclude="shop",
                    level="debug",
                ),
            )
            eventually(lambda: core.live, "the file is read without being told of")
            core.spans.append(spans_of(1, "after"))
            eventually(lambda: new.span_names() == ["after"], "the second backend has it")
            eventually(lambda: core.verdicts[1][0] is False, "the new rules hold")
            assert run.agent._settings.log_level == "debug"
        assert old.span_names() == ["before"]
        assert new.requests[0].headers["tenant"] == "b"
    assert core.live == [
        {
            "sampler": "parentbased_traceidratio",
            "sampler_arg": 0.5,
            "spans_per_second": 7,
            "routes": "infer",
            "privacy": Privacy(drop_attributes=("url.query",)),
        }
    ]
    assert "these need a restart, and stay as they were: command_args" in caplog.text
    assert (
        "configuration read anew: log_level, selection.exclude, traces.target.url, traces.target.headers" in caplog.text
    )
    assert run.agent._settings.command_args is False
    assert run.agent._reload is not None
    assert (RELOADS, {"outcome": "changed"}, 1) in list(run.agent._reload.counters())


def test_a_file_that_is_not_valid_changes_nothing_and_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.yaml"
    with running_backend() as backend:
        put(path, text(backend.url))
        core = FakeCore()
        reload = Reload(lambda: load(path, {}), path)
        with running(core, load(path, {}), reload) as run:
            before = run.agent._settings
            put(path, text("nonsense", budget="7"))
            eventually(lambda: reload.outcomes["invalid"] == 1, "it was read")
            put(
                path,
                text(backend.url, tenant="no header\\x01", budget="7")
                .replace("no header", '"no header')
                .replace("\\x01", '\\x01"'),
            )
            eventually(lambda: reload.outcomes["invalid"] == 2, "the one whose header can't be was read")
            assert run.agent._settings == before
            put(path, text(backend.url))
            eventually(lambda: reload.outcomes["unchanged"] == 1, "what holds is asked for again")
    assert core.live == []
    assert "c.yaml:9: " in caplog.text
    assert "all stays as it was" in caplog.text


def test_requests_that_wait_for_a_backend_that_is_away_go_to_the_new_one() -> None:
    with running_backend(Answer(503)) as away, running_backend() as there:
        settings = sending_to(away, OTEL_METRICS_EXPORTER="none")
        anew = sending_to(there, OTEL_METRICS_EXPORTER="none", OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
        core = FakeCore(spans=[spans_of(1, "waits")])
        with running(core, settings, Reload(lambda: anew)) as run:
            eventually(lambda: away.requests, "it was tried")
            run.control.reload = True
            eventually(lambda: there.span_names() == ["waits"], "it arrives elsewhere", 2)
        assert run.summary.accounting.exported == 1
        assert run.summary.accounting.dropped == {}


def watched(path: Path) -> Reload:
    return Reload(Settings, path, _due_s=0)


def seen(reload: Reload) -> bool:
    """Whether a change is noticed, once it is due to be."""
    noticed = False
    for _ in range(3):
        reload._due_s = 0
        noticed = reload.changed() or noticed
    return noticed


def rewrite(folder: Path) -> None:
    (folder / "c.yaml").write_text("other")


def rename(folder: Path) -> None:
    put(folder / "c.yaml", "same")


def swap(folder: Path) -> None:
    """As the kubelet does it for a ConfigMap: ..data is another link from one moment to the next."""
    (folder / "..2").mkdir()
    (folder / "..2" / "c.yaml").write_text("same")
    (folder / "..data_tmp").symlink_to("..2")
    (folder / "..data_tmp").rename(folder / "..data")


@pytest.mark.parametrize("change", [rewrite, rename, swap])
def test_every_way_in_which_a_file_changes_is_seen(tmp_path: Path, change: Callable[[Path], None]) -> None:
    (tmp_path / "..1").mkdir()
    (tmp_path / "..1" / "c.yaml").write_text("same")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "c.yaml").symlink_to("..data/c.yaml")
    reload = watched(tmp_path / "c.yaml")
    assert not seen(reload)
    change(tmp_path)
    assert seen(reload)
    reload.read(Settings(), lambda _: None)
    assert not seen(reload)


def test_a_file_is_left_alone_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a")
    reload = watched(path)
    for length in range(2, 6):
        path.write_text("a" * length)
        reload._due_s = 0
        assert not reload.changed()
    assert seen(reload)


def test_a_file_that_is_gone_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a")
    reload = watched(path)
    path.unlink()
    assert not seen(reload)
    path.write_text("a")
    os.utime(path, ns=(time.time_ns(), time.time_ns()))
    assert seen(reload)


def test_a_signal_that_was_not_sent_before_needs_a_restart() -> None:
    held = Settings()
    wanted = with_value(held, "traces.target", OtlpTarget("http://c:4318/v1/traces"))
    for old, new, said in ((held, wanted, "is asked for"), (wanted, held, "is asked for no more")):
        assert merged(old, new) == (old, [], [f"traces.target ({said})"])


def test_each_setting_is_live_or_named() -> None:
    held = replace(Settings(), privacy=Privacy(("a",)))
    for name, value in (("http.routes", "unset"), ("privacy.drop_attributes", ()), ("queue.max_bytes", 1 << 30)):
        settings, changed, kept = merged(held, with_value(held, name, value))
        is_live = next(one.live for one in SETTINGS if one.name == name)
        assert (list(changed), list(kept)) == (([name], []) if is_live else ([], [name]))
        assert (value_of(settings, name) == value) is is_live


def test_a_refusal_by_who_takes_it_counts_as_invalid(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: Settings) -> None:
        raise ConfigError("no such header")

    held = Settings()
    reload = Reload(lambda: with_value(held, "http.routes", "unset"))
    assert reload.read(held, refuse) is held
    assert reload.outcomes["invalid"] == 1
    assert "no such header; all stays as it was" in caplog.text

"""Alive and ready: what probes are told, and why not; and where the agent's own time goes."""

import threading
import time
import urllib.error
import urllib.request

from tests.testbed.process import eventually
from tests.unit.fakes import FakeCore
from tests.unit.test_agent import Run

from otel_ebpf.agent.health import Health
from otel_ebpf.agent.profile import folded, profile
from otel_ebpf.config.settings import Settings
from otel_ebpf.export.serving import Served


def get(served: Served, path: str) -> tuple[int, str]:
    host, port = served.address
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_each_thread_has_to_go_round() -> None:
    core, clock = FakeCore(), Clock()
    health = Health(core, clock)
    assert (health.not_alive(), health.not_ready()) == ("", "the agent is starting")
    for _ in range(30):
        clock.now_s += 1
        health.ticked()
        assert (health.not_alive(), health.not_ready()) == ("", "")
    core.drains = False
    health.ticked()
    for _ in range(12):
        clock.now_s += 1
        health.ticked()
    assert health.not_alive() == health.not_ready() == "the drain thread has not gone round for 12 s"
    core.drains = True
    health.ticked()
    assert health.not_alive() == ""
    clock.now_s += 11
    assert health.not_alive() == "the main loop has not gone round for 11 s"


def test_what_is_waited_for_is_said() -> None:
    health = Health(FakeCore())
    health.ticked("the API server to tell of pods")
    assert (health.not_alive(), health.not_ready()) == ("", "waiting for the API server to tell of pods")
    health.ticked()
    assert health.not_ready() == ""
    health.ending()
    assert (health.not_alive(), health.not_ready()) == ("", "the agent is ending")


def test_a_running_agent_is_asked_over_http() -> None:
    pages, debug = Served("health", ("127.0.0.1", 0)), Served("profile", ("127.0.0.1", 0))
    run = Run(FakeCore(), Settings(), served=[(pages, "health"), (debug, "profile")])
    run.thread.start()
    try:
        eventually(lambda: get(pages, "/readyz") == (200, "ok\n"), "the agent is ready")
        assert get(pages, "/livez") == (200, "ok\n")
        assert get(pages, "/debug/profile")[0] == 404
        status, text = get(debug, "/debug/profile?seconds=0.5")
        assert status == 200
        assert all(line.rpartition(" ")[2].isdigit() for line in text.split("\n") if line)
        assert get(debug, "/debug/profile?seconds=1e9") == (400, "seconds: a number up to 60\n")
    finally:
        run.end()


def test_one_profile_at_a_time() -> None:
    debug = Served("profile", ("127.0.0.1", 0))
    run = Run(FakeCore(), Settings(), served=[(debug, "profile")])
    run.thread.start()
    try:
        eventually(lambda: get(debug, "/debug/profile?seconds=0.01")[0] == 200, "it answers")
        first = threading.Thread(target=get, args=(debug, "/debug/profile?seconds=2"))
        first.start()
        time.sleep(0.5)  # so that this is the first
        assert get(debug, "/debug/profile?seconds=0.01") == (429, "another profile is being taken\n")
        first.join()
    finally:
        run.end()


def burn(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(1000))


def test_a_profile_says_who_was_on_the_cpu_and_for_how_long() -> None:
    stop = threading.Event()
    busy = threading.Thread(target=burn, args=(stop,), name="busy")
    idle = threading.Thread(target=stop.wait, name="idle")
    for thread in (busy, idle):
        thread.start()
    try:
        cpu_s = time.process_time()
        found = profile(1.0)
        cpu_s = time.process_time() - cpu_s
    finally:
        stop.set()
    burnt_s = sum(ns for stack, ns in found.items() if stack.startswith("busy;") and ".burn" in stack) / 1e9
    # What is not the busy thread's is the sampler's own.
    assert 0.5 * cpu_s < burnt_s <= cpu_s
    assert not any(stack.startswith("idle;") and ns > 50e6 for stack, ns in found.items())
    assert folded(found).splitlines()[0].startswith("busy;")

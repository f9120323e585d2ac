"""What the agent tells the core that sampling needs: whose a process is, and how full the queue on disk is."""

from pathlib import Path

from tests.testbed.process import eventually
from tests.unit.backend import Answer, running_backend
from tests.unit.fakes import FakeCore, Process, spans_of
from tests.unit.test_agent import running, sending_to

from otel_ebpf.config.settings import Queue
from otel_ebpf.export.queues import Queues


def test_a_process_has_its_service_before_its_verdict() -> None:
    class Core(FakeCore):
        def set_service(self, process_key: int, service: str) -> None:
            assert process_key not in self.verdicts
            super().set_service(process_key, service)

    core = Core(processes=[Process(1, 0, comm="shop")])
    with running_backend() as backend, running(core, sending_to(backend)):
        eventually(lambda: 1 in core.verdicts, "the verdict")
    assert core.services == {1: "shop"}


def test_the_core_is_told_how_full_the_queue_on_disk_is(tmp_path: Path) -> None:
    settings = Queue(str(tmp_path / "queue"), max_bytes=1 << 20)
    names = [f"{number:0500}" for number in range(200)]
    with running_backend() as backend:
        backend.answers.extend([Answer(503)] * 1000)
        core = FakeCore()
        with running(core, sending_to(backend), queues=Queues(settings, ["traces", "metrics"])):

            def is_filling() -> bool:
                core.spans.append(spans_of(1, *names))
                return core.fills[-1:] > [0.75]

            eventually(is_filling, "it is told of", every=0.2)
            backend.answers.clear()
            eventually(lambda: core.fills[-1] < 0.3, "and that it is empty again", 40)
    assert all(0 <= fill <= 1 for fill in core.fills)

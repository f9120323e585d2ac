"""The same in a VM that counts instructions: one vCPU, one guest nanosecond is one instruction.

What is reported is for load, server and agent together, and repeats within half a percent whatever the host does.
"""

import json
from dataclasses import dataclass
from statistics import median

from tests.bench import sink
from tests.bench.measure import Mode, Watch
from tests.kernels.image import project_image, root_image
from tests.kernels.kernels import find
from tests.kernels.vm import Vm
from tests.testbed.tls import certificate


@dataclass(frozen=True, slots=True)
class Row:
    """Instructions per request of one workload in one mode."""

    mode: Mode
    workload: str
    instructions: list[float]
    added: float  # over the same workload without the agent
    spans_per_request: float
    switches_per_request: float
    agent: float  # of those added, the agent's own (the rest is BPF, the sink, caches don't count)

    @property
    def instructions_median(self) -> float:
        return median(self.instructions)


def run(series: str, *, quick: bool, timeout_s: float = 2400) -> tuple[str, list[Watch]]:
    """(kernel package, what was measured)."""
    kernel = find(series)
    vm = Vm(root_image(), project_image(), counting=True)
    options = "--quick" if quick else ""
    job = (
        f"exec env TESTBED_CERTIFICATE=/job python -m tests.bench.guest --sink /job/sink {options} -o /out/watches.json"
    )
    files = {"sink": sink.build().read_bytes(), **certificate().files()}
    result = vm.run(kernel, job, files=files, timeout_s=timeout_s)
    if not result.ok:
        raise RuntimeError(f"the VM's job failed: {result.explain()}")
    return kernel.package, [Watch.from_dict(row) for row in json.loads(result.files["watches.json"])]


def rows(watches: list[Watch]) -> list[Row]:
    """By mode and workload, in the order of measurement."""
    base: dict[str, float] = {}
    table: list[Row] = []
    for watch in watches:
        for workload in dict.fromkeys(sample.workload for sample in watch.samples):
            samples = [sample for sample in watch.samples if sample.workload == workload]
            instructions = [sample.ns_per_request for sample in samples]
            base.setdefault(workload, median(instructions))
            requests = sum(sample.load.requests for sample in samples)
            table.append(
                Row(
                    watch.mode,
                    workload,
                    instructions,
                    median(instructions) - base[workload],
                    sum(sample.spans for sample in samples) / requests,
                    sum(sample.load.switches for sample in samples) / requests,
                    sum(sample.agent_cpu_s for sample in samples) * 1e9 / requests,
                )
            )
    return table

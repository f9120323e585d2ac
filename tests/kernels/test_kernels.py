"""The core cases (core.py) on this machine's kernel and on Debian's, one test per kernel and case."""

import json
import os
from dataclasses import dataclass
from functools import cache

import pytest

from tests.kernels import core
from tests.kernels.image import project_image, root_image
from tests.kernels.kernels import Unavailable, find
from tests.kernels.vm import Vm
from tests.testbed.tls import certificate

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="capture needs root")

# Without a kernel of its own: the series, and the hooks that it has to be given.
SERIES = {"native": "", "6.1": "fexit", "6.12": "sock_length"}
CASES = [*core.CASES, "after_the_end", "after_kill"]


@dataclass(frozen=True, slots=True)
class Ran:
    """All cases of one kernel, and what to say where one is missing."""

    outcomes: dict[str, core.Outcome]
    story: str


@cache
def ran(series: str) -> Ran:
    """Runs all cases of one kernel, once."""
    if series == "native":
        return Ran({outcome.case: outcome for outcome in core.run()}, "")
    try:
        vm = Vm(root_image(), project_image())
        job = f"TESTBED_CERTIFICATE=/job python -m tests.kernels.core --hooks {SERIES[series]} -o /out/outcomes.json"
        result = vm.run(find(series), job, files=certificate().files(), timeout_s=240)
    except Unavailable as lack:
        pytest.skip(str(lack))
    told = json.loads(result.files.get("outcomes.json", b"[]"))
    return Ran({row["case"]: core.Outcome(**row) for row in told}, result.explain())


@pytest.mark.timeout(400)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("series", SERIES)
def test_core(series: str, case: str) -> None:
    outcome = ran(series).outcomes.get(case)
    assert outcome is not None, f"{case} was not reached:\n{ran(series).story}"
    assert not outcome.error, f"{outcome.error}\n{ran(series).story}"

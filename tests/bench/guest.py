"""What runs inside the counting VM: each mode once, each workload in it, samples as JSON."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.bench import measure
from tests.bench.measure import HTTP2, HTTPS, WITHOUT, Mode, Watch
from tests.testbed.tls import certificate

# wrk with eight connections, as the figures of testbed.md and of the peers were taken.
HELLO = measure.Workload("hello world", connections=8)
IDS = measure.Workload("1,000 paths with ids", paths="ids", connections=8)
# Where only the server is watched it becomes slower than wrk, and the scheduler, which favours who had less, switches
# between the two twice as often: 4,200 instructions a switch that are neither's. In turn, that effect is gone.
IN_TURN = measure.Workload("1,000 paths with ids, in turn", paths="ids", connections=8, in_turn=True)
HELLO_IN_TURN = measure.Workload("hello world, in turn", connections=8, in_turn=True)
NAMES = measure.Workload("1,000 paths of names", paths="names", connections=8)

MODES = {
    WITHOUT: [HELLO, HELLO_IN_TURN, IDS, IN_TURN, NAMES, HTTPS, HTTP2],
    Mode("server", "metrics"): [HELLO, HELLO_IN_TURN, IDS, IN_TURN, NAMES, HTTPS, HTTP2],
    Mode("server", "all"): [HELLO, HELLO_IN_TURN, IDS, IN_TURN, NAMES, HTTPS, HTTP2],
    Mode("server", "budget"): [HELLO],
    Mode("both", "all"): [HELLO, HTTPS, HTTP2],
    Mode("everything", "all"): [HELLO],
}
QUICK = {
    WITHOUT: [HELLO, HELLO_IN_TURN, IDS, IN_TURN],
    Mode("server", "metrics"): [HELLO_IN_TURN, IDS, IN_TURN],
    Mode("server", "all"): [IDS, IN_TURN],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sink", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    watches: list[Watch] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        measure.bench(Path(folder), options.sink, certificate=certificate()) as bench,
    ):
        for mode, workloads in (QUICK if options.quick else MODES).items():
            with bench.watching(mode) as watch:
                for workload in workloads:
                    for _ in range(options.repeat):
                        sample = watch.sample(workload, options.seconds)
                        print(f"{mode.name}: {workload.name}: {sample.ns_per_request:,.0f}", flush=True)
            watches.append(watch)
            options.output.write_text(json.dumps([watch.as_dict() for watch in watches]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

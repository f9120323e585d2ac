"""`python -m otel_ebpf` is `otel-ebpf`."""

import sys

from otel_ebpf.commands.main import main

sys.exit(main())

"""Boots a kernel under qemu, runs one job in it as root, brings its files back.

    host                                    guest
    root.ext4     (vda, copy on write)  →   /
    project.ext4  (vdb, copy on write)  →   the project's own path
    job.tar       (vdc)                 →   /job: the job's own files, `run` is executed
    result.tar    (vdd)                 ←   /out: whatever the job left there, written as the VM ends

No KVM is asked for: it is not there in CI. Nothing leaves the VM but the console and result.tar.
"""

import io
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernels.image import PROJECT
from tests.kernels.kernels import Kernel, Unavailable

_RESULT_BYTES = 256 << 20

_INIT = r"""#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc p /proc; $B mount -t sysfs s /sys; $B mount -t devtmpfs d /dev
while read -r module || [ -n "$module" ]; do $B insmod "/$module"; done < /modules.order
n=0; while [ ! -b /dev/vdd ] && [ $n -lt 100 ]; do $B sleep 0.1; n=$((n+1)); done
$B mount -t ext4 /dev/vda /new || exec $B poweroff -f
for m in proc sys dev; do $B mount --move /$m /new/$m; done
$B cp /start /new/start
exec $B switch_root /new /bin/busybox sh /start
"""

_START = r"""
/bin/busybox --install -s /bin 2>/dev/null
export PATH=@PROJECT@/.venv/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/root PYTHONDONTWRITEBYTECODE=1
mount -t tmpfs t /tmp; mount -t tmpfs t /run; mkdir -p /dev/shm /dev/pts /out @PROJECT@
mount -t ext4 /dev/vdb @PROJECT@
mount -t tmpfs -o size=75% t /out; mount -t devpts devpts /dev/pts; mount -t tmpfs t /dev/shm
mount -t cgroup2 c /sys/fs/cgroup
chmod 1777 /tmp; ifconfig lo up; hostname vm; ulimit -n 65536
echo 2 > /proc/sys/kernel/printk
mkdir -p /job; cd /job; tar xf /dev/vdc
echo "@MARK@ start $(cut -d' ' -f1 /proc/uptime)"
( cd @PROJECT@; sh /job/run; echo $? > /out/.exit ) 2>&1 | tee /out/.log
cd /out; tar cf /dev/vdd .
sync; echo "@MARK@ end"
poweroff -f
"""
_MARK = "=VM="


@dataclass(frozen=True, slots=True)
class Result:
    """What a job left behind. `exit_code` is None where the VM did not get to the job's end."""

    exit_code: int | None
    log: str
    console: str
    seconds: float
    files: Mapping[str, bytes] = field(repr=False)

    @property
    def ok(self) -> bool:
        """The job ran to its end and said 0."""
        return self.exit_code == 0

    def explain(self) -> str:
        """For a failing test: how it ended and the last lines said."""
        how = "did not end in time or crashed" if self.exit_code is None else f"exit {self.exit_code}"
        return f"{how} after {self.seconds:.0f} s\n" + "\n".join(self.console.splitlines()[-120:])


@dataclass(frozen=True, slots=True)
class Vm:
    """A machine to run jobs in. `counting`: one vCPU on which one guest nanosecond is one instruction."""

    root: Path
    project: Path
    cpus: int = 2
    memory: str = "3G"
    counting: bool = False

    def run(
        self, kernel: Kernel, job: str, *, files: Mapping[str, bytes] | None = None, timeout_s: float = 300
    ) -> Result:
        """Runs the shell script `job` with `files` beside it in /job; what it writes to /out comes back."""
        qemu = shutil.which("qemu-system-x86_64")
        if qemu is None:
            raise Unavailable("qemu-system-x86_64 is not installed (package qemu-system-x86)")
        with tempfile.TemporaryDirectory(prefix="vm-") as work:
            home = Path(work)
            _initrd(kernel, home / "initrd")
            _job_disk({**(files or {}), "run": job.encode()}, home / "job.tar")
            with (home / "result.tar").open("wb") as handle:
                handle.truncate(_RESULT_BYTES)
            begin = time.monotonic()
            with (home / "console").open("wb") as console:
                process = subprocess.Popen(
                    self._command(qemu, kernel, home), stdin=subprocess.DEVNULL, stdout=console, stderr=console
                )
                try:
                    process.wait(timeout_s)
                except subprocess.TimeoutExpired:
                    pass
                finally:
                    process.kill()
                    process.wait()
            seconds = time.monotonic() - begin
            text = (home / "console").read_text(errors="replace").replace("\r", "")
            ended = f"{_MARK} end" in text
            got = _read(home / "result.tar") if ended else {}
        code = got.pop(".exit", b"").decode().strip()
        said = got.pop(".log", b"").decode(errors="replace")
        return Result(int(code) if code else None, said, text, seconds, got)

    def _command(self, qemu: str, kernel: Kernel, home: Path) -> list[str]:
        drives: list[str] = []
        disks = ((self.root, "on"), (self.project, "on"), (home / "job.tar", "on"), (home / "result.tar", "off"))
        for number, (path, copy_on_write) in enumerate(disks):
            drives += ["-drive", f"file={path},if=none,id=d{number},format=raw,snapshot={copy_on_write}"]
            # Without MSI-X: qemu 7.2 now and then aborts in msix_table_mmio_write while a guest sets it up.
            drives += ["-device", f"virtio-blk-pci,drive=d{number},vectors=0"]
        # la57: Debian's 6.1 decompressor does not come through qemu's five-level paging.
        machine = ["-machine", "q35", "-accel", "tcg", "-cpu", "max,la57=off", "-m", self.memory]
        if self.counting:
            machine += ["-smp", "1", "-icount", "shift=0,sleep=off"]
        else:
            machine += ["-smp", str(self.cpus)]
        command_line = "console=ttyS0 quiet mitigations=off panic=-1 rdinit=/init tsc=reliable"
        boot = ["-kernel", str(kernel.vmlinuz), "-initrd", str(home / "initrd"), "-append", command_line]
        return [
            qemu,
            *machine,
            "-display",
            "none",
            "-serial",
            "stdio",
            "-monitor",
            "none",
            "-no-reboot",
            "-nic",
            "none",
            *boot,
            *drives,
        ]


def _initrd(kernel: Kernel, to: Path) -> None:
    tree = to.with_suffix(".tree")
    for name in ("bin", "proc", "sys", "dev", "new"):
        (tree / name).mkdir(parents=True)
    shutil.copy2("/bin/busybox", tree / "bin/busybox")
    for module in kernel.modules:
        shutil.copy2(module, tree)
    (tree / "modules.order").write_text("".join(f"{module.name}\n" for module in kernel.modules))
    (tree / "init").write_text(_INIT)
    (tree / "init").chmod(0o755)
    (tree / "start").write_text(_START.replace("@PROJECT@", str(PROJECT)).replace("@MARK@", _MARK))
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*"))).encode()
    with to.open("wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names, stdout=out, check=True)
    shutil.rmtree(tree)


def _job_disk(files: Mapping[str, bytes], to: Path) -> None:
    with tarfile.open(to, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))


def _read(disk: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(disk) as tar:
        for member in tar:
            if member.isfile() and (handle := tar.extractfile(member)) is not None:
                found[member.name.removeprefix("./")] = handle.read()
    return found

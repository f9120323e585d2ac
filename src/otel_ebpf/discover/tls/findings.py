"""What was found: where to attach, or why not."""

from dataclasses import dataclass
from typing import Final, Literal

UNKNOWN: Final = "unknown"

Place = Literal["enter", "exit", "return"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One uprobe. `function` says what the arguments and the result mean; `offset` counts bytes in the file.

    enter   a uprobe where the function's arguments still stand in their registers
    exit    a uprobe on an instruction within the function where rax holds what will be returned; a function has
            several, of which every call that returns meets at least one: the first one counts
    return  a uretprobe: there is no exit. It goes where rsp still points at the return address

    `emulated`: the kernel does the instruction's work itself; else it steps over it, at twenty times the cost.
    `result_at`: the result stands in memory, 64 bits at rsp plus this, and not in rax.
    """

    function: str
    place: Place
    offset: int
    instruction: str  # for people
    emulated: bool
    result_at: int | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file whose TLS can be watched.

    `random_path` leads from an SSL* to the 32 bytes of its ClientHello's random: to all but the last number, add it
    and read a pointer there; add the last one. Empty where it is not known. `is_server` is the offset in the SSL object
    of an int that is 1 in servers and 0 in clients; 0 where it is not known. Since OpenSSL 3.2 both hold only where
    the int that the object begins with is 0; else it is a QUIC connection.
    """

    implementation: str
    version: str  # "" if the file does not say
    probes: tuple[Probe, ...]
    random_path: tuple[int, ...] = ()
    is_server: int = 0
    notes: tuple[str, ...] = ()  # what is missing, for people
    path: str = ""  # by which it can be opened from here
    name: str = ""  # as the process calls it, for people
    device: int = 0
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file whose TLS is left alone, and why."""

    implementation: str
    reason: str
    version: str = ""
    path: str = ""
    name: str = ""


Finding = Attachment | Refusal


@dataclass(frozen=True, slots=True)
class TlsReport:
    """All that was found in one process; without findings, none of its files has TLS that we know."""

    pid: int
    executable: str
    findings: tuple[Finding, ...]
    unreadable: tuple[str, ...] = ()  # files that it maps and that could not be looked at, each with the reason

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """Where to attach."""
        return tuple(found for found in self.findings if isinstance(found, Attachment))

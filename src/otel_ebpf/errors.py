"""Everything that can go wrong, by what the user has to do about it. Only `commands.main` ends the program.

AgentError               1   anything else
├── ConfigError          2   flags, environment or file: refused before anything is attached
├── CaptureError         4   the kernel could not do what was asked
│   └── PermissionDenied 3   it could, but not for this user
├── OutputError          5   standard output can't be written (disk full)
│   └── OutputClosed     0   its reader went away, as `head` does: not an error of ours
├── ClusterError         -   the Kubernetes API server is out of reach or refused; the agent goes on and asks again
└── ExportError          -   a request to the backend failed for good; counted, never ends the agent
    └── TemporaryExportError   ... or may yet succeed; retried
"""

from typing import ClassVar


class AgentError(Exception):
    """`str(error)` is one sentence for people; `hint` says what to do, where that is known."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(AgentError):
    """The configuration is not valid. The message names file, line, key and what would be right."""

    exit_code: ClassVar[int] = 2


class CaptureError(AgentError):
    """BPF programs could not be loaded or attached."""

    exit_code: ClassVar[int] = 4


class PermissionDenied(CaptureError):
    """The user lacks the capabilities."""

    exit_code: ClassVar[int] = 3


class OutputError(AgentError):
    """Standard output can't be written."""

    exit_code: ClassVar[int] = 5


class OutputClosed(OutputError):
    """Nobody reads standard output any more."""

    exit_code: ClassVar[int] = 0


class ClusterError(AgentError):
    """The Kubernetes API server could not be asked. `status` is HTTP's, 0 where there was none.

    410: what was asked for is so old that it is not kept; only a new list helps.
    """

    def __init__(self, message: str, status: int = 0, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


class ExportError(AgentError):
    """The backend refused, or could not be reached for as long as we try."""


class TemporaryExportError(ExportError):
    """One attempt failed in a way that may pass. `retry_after_s` is what the backend asked for, 0 if nothing."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

"""Who decided on a value."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Origin:
    """`where`: the variable, the flag, or the file's name with the line behind it; "" for a default.

    `through`: variables that the file's value refers to.
    """

    kind: Literal["default", "environment", "file", "flag"] = "default"
    where: str = ""
    through: tuple[str, ...] = ()

    def __str__(self) -> str:
        through = f", through {', '.join(self.through)}" if self.through else ""
        return (f"{self.kind} {self.where}" if self.kind == "environment" else self.where or self.kind) + through

"""Kinds of values that a setting can have: how each is written in a variable, in the file, and for people.

Nothing here imports pydantic, so that an agent without a file never pays for it: `schema` makes its types of these.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false. `unset`: a word that stands for None, which is then the default."""

    unset: tuple[str, ...] = ()

    def parse(self, text: str) -> bool | None:
        """From a variable. Raises ValueError saying what would be right, as all of them do."""
        word = text.lower()
        if word in self.unset:
            return None
        if word not in {"true", "false"}:
            raise ValueError(f"not one of {', '.join((*self.unset, 'true', 'false'))}")
        return word == "true"

    def __str__(self) -> str:
        return " or ".join(("true", "false", *self.unset[:1]))


@dataclass(frozen=True, slots=True)
class Number:
    """Within [low, high]. `scale`: what a user's 1 is in the setting (0.001 where people say milliseconds).

    `check` says what else is wrong with one.
    """

    low: float = 0
    high: float = math.inf
    whole: bool = True
    scale: float = 1
    check: Callable[[int], int] | None = None

    def parse(self, text: str) -> float:
        """From a variable."""
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and self.low <= number <= self.high):
            raise ValueError(f"not a number from {self.low:g} to {self.high:g}")
        if self.check:
            self.check(int(number))
        return int(number) if self.whole else number * self.scale

    def __str__(self) -> str:
        what = "whole number" if self.whole else "number"
        return f"{what} from {self.low:.12g}" + ("" if math.isinf(self.high) else f" to {self.high:.12g}")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words; the first is not always the default."""

    words: tuple[str, ...]

    def parse(self, text: str) -> str:
        """From a variable, in any case."""
        word = text.lower()
        if word not in self.words:
            raise ValueError(f"not one of {', '.join(self.words)}")
        return word

    def __str__(self) -> str:
        return " or ".join(self.words)


@dataclass(frozen=True, slots=True)
class Text:
    """Any text. `check` says what is wrong with one, or returns it."""

    check: Callable[[str], str] = str

    def parse(self, text: str) -> str:
        """From a variable."""
        return self.check(text)

    def __str__(self) -> str:
        return "text"


@dataclass(frozen=True, slots=True)
class Words:
    """A list; in a variable with commas between. `check` as Text's, for each."""

    check: Callable[[str], str] = str

    def parse(self, text: str) -> tuple[str, ...]:
        """From a variable."""
        return tuple(self.check(word.strip()) for word in text.split(",") if word.strip())

    def __str__(self) -> str:
        return "list"


@dataclass(frozen=True, slots=True)
class Other:
    """Read by hand, in `environment` and `convert`; `shape` is for people."""

    shape: str

    def __str__(self) -> str:
        return self.shape


Kind = Flag | Number | Choice | Text | Words | Other


def written(kind: Kind, value: Any) -> Any:
    """A setting's value as people would write it in the file: numbers in their unit, None as its word."""
    match kind:
        case Flag(unset=unset) if value is None and unset:
            return unset[0]
        case Number(scale=scale) if scale != 1:
            number = round(value / scale, 6)
            return int(number) if number == int(number) else number
        case Number(whole=True):
            return int(value)
    return value


def taken(kind: Kind, value: Any) -> Any:
    """What the file says, as a setting has it: the other way round."""
    match kind:
        case Flag(unset=unset) if value in unset:
            return None
        case Number(scale=scale) if scale != 1:
            return value * scale
        case Words():
            return tuple(value)
    return value

"""Our part of the file, `distribution.otel_ebpf`, as the catalogue has it: its pydantic model and what it says.

The model is made at import, so that a setting need not be written down a second time.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema, create_model

from otel_ebpf.config.catalogue import BY_KEY, OURS, Setting, with_value
from otel_ebpf.config.kinds import Choice, Flag, Kind, Number, Text, Words, taken
from otel_ebpf.config.model import Model, as_list
from otel_ebpf.config.settings import Settings


def type_of(kind: Kind) -> Any:
    """What pydantic checks a value of this kind by."""
    match kind:
        case Flag(unset=()):
            return bool
        case Flag(unset=words):
            return bool | Literal[words[0]]
        case Number(whole=whole, low=low, high=high, check=check):
            bounds = Field(ge=low, le=None if math.isinf(high) else high)
            number: Any = Annotated[int if whole else float, bounds]
            return Annotated[number, AfterValidator(check)] if check else number
        case Choice(words=words):
            return Literal[words]
        case Text(check=check):
            return Annotated[str, AfterValidator(check)]
        case Words(check=check):
            one: Any = Annotated[str, Field(min_length=1), AfterValidator(check)]
            shape = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
            return Annotated[list[one], BeforeValidator(as_list), WithJsonSchema(shape)]
        case _:
            raise TypeError(f"{kind!r} is read by hand")


def model(by_hand: Mapping[str, Any]) -> type[Model]:
    """What may stand under `distribution.otel_ebpf`.

    `by_hand`: types of keys that the catalogue does not read, `a.b` for one that stands beside others that it does.
    """
    tree: dict[str, Any] = {}
    leaves = {key.removeprefix(OURS): _field(setting) for key, setting in BY_KEY.items()}
    for key, field in ({key: (kind | None, None) for key, kind in by_hand.items()} | leaves).items():
        branch = tree
        *around, last = key.split(".")
        for part in around:
            branch = branch.setdefault(part, {})
        branch[last] = field
    return _model("OurModel", tree)


def _field(setting: Setting) -> tuple[Any, Any]:
    default = setting.default()
    text = setting.about if default in (None, "", ()) else f"{setting.about} Default: {default}"
    return type_of(setting.kind) | None, Field(default=None, description=text)


def _model(name: str, tree: Mapping[str, Any]) -> type[Model]:
    def inner(key: str, part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        return _model(f"{key.title().replace('_', '')}Model", part) | None, None

    return create_model(name, __base__=Model, **{key: inner(key, part) for key, part in tree.items()})


def apply(settings: Settings, said: BaseModel) -> Settings:
    """`settings` with what the file says."""
    for key, value in _leaves(said, OURS):
        if (setting := BY_KEY.get(key)) and value is not None:
            settings = with_value(settings, setting.name, taken(setting.kind, value))
    return settings


def _leaves(said: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for name in said.model_fields_set:
        value = getattr(said, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value

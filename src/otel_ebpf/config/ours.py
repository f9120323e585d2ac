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
    """What may stand under `distribution.otel_ebpf`. `by_hand`: types of keys that the catalogue does not read."""
    tree: dict[str, Any] = {}
    for key, setting in BY_KEY.items():
        branch = tree
        *around, last = key.removeprefix(OURS).split(".")
        for part in around:
            branch = branch.setdefault(part, {})
        branch[last] = setting
    return _model("OurModel", tree, by_hand)


def _model(name: str, tree: Mapping[str, Any], more: Mapping[str, Any]) -> type[Model]:
    made: dict[str, Any] = {key: (kind | None, None) for key, kind in more.items()}
    for key, part in tree.items():
        if isinstance(part, Setting):
            default = part.default()
            text = part.about if default in (None, "", ()) else f"{part.about} Default: {default}"
            made[key] = (type_of(part.kind) | None, Field(default=None, description=text))
        else:
            made[key] = (_model(f"{key.title().replace('_', '')}Model", part, {}) | None, None)
    return create_model(name, __base__=Model, **made)


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

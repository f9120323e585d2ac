"""The declarative file (`--config`, OTEL_CONFIG_FILE) as settings.

Every complaint names file, line and key, and what would be right. Nothing is half taken: a file is valid as a
whole or refused as a whole.
"""

import difflib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from otel_ebpf.config import document, schema, values
from otel_ebpf.config.catalogue import SETTINGS
from otel_ebpf.config.convert import to_settings
from otel_ebpf.config.origin import Origin
from otel_ebpf.config.settings import Settings
from otel_ebpf.errors import ConfigError

log = logging.getLogger(__name__)


def load_file(path: Path, variables: Mapping[str, str]) -> tuple[Settings, dict[str, Origin]]:
    """Settings from a file, and which line decided what. `variables` is what `${VAR}` stands for.

    Raises ConfigError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error
    doc = document.parse(text, str(path), variables)
    if not isinstance(doc.content, dict):
        raise ConfigError(f'{path}:1: not a configuration: it begins with `file_format: "1.0"`')
    try:
        model = schema.FileModel.model_validate(doc.content)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(doc, item) for item in error.errors())) from error
    absent = []
    for unused, field in _set_fields(model, ()):
        where = f"{path}:{doc.line(unused)}: {_dotted(unused)}"
        if advice := next((one.advice for one in field.metadata if isinstance(one, schema.Absent)), ""):
            absent.append(f"{where}: not there in this agent; {advice}")
        elif "unused" in field.metadata and doc.at(unused) is not None:
            log.warning("%s: has no effect here", where)
    if absent:
        raise ConfigError("\n".join(absent))
    try:
        return to_settings(model), _origins(doc)
    except values.Misplaced as error:
        raise ConfigError(f"{path}:{doc.line(error.path)}: {_dotted(error.path)}: {error}") from error


def _origins(doc: document.Document) -> dict[str, Origin]:
    """Line of each setting that the file has."""
    found = {}
    for setting in SETTINGS:
        if place := doc.find(setting.key):
            below = [names for path, names in doc.references.items() if path[: len(place)] == place]
            through = tuple(dict.fromkeys(name for names in below for name in names))
            found[setting.name] = Origin("file", f"{doc.name}:{doc.line(place)}", through)
    return found


def _dotted(path: document.Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _explain(doc: document.Document, error: Any) -> str:
    path: document.Path = tuple(error["loc"])
    where = f"{doc.name}:{doc.line(path)}: {_dotted(path)}"
    if error["type"] == "extra_forbidden":
        known = _keys_at(path[:-1])
        key = str(path[-1])
        close = difflib.get_close_matches(key, known, n=1) or [name for name in known if name.startswith(key)]
        advice = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        return f"{where}: unknown key; {advice}"
    if error["type"] == "missing":
        return f"{where}: is required"
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if message.startswith("Input ") else message
    return f"{where}: {message}"


def _keys_at(path: document.Path) -> list[str]:
    """The keys that the mapping at `path` can have."""
    model: type[BaseModel] = schema.FileModel
    for part in path:
        if isinstance(part, str):
            field = next((f for n, f in model.model_fields.items() if (f.alias or n) == part), None)
            inner = _model_in(field.annotation) if field else None
            if inner is None:
                return []
            model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for arg in get_args(annotation) if (model := _model_in(arg))), None)


def _set_fields(model: BaseModel, path: document.Path) -> Iterator[tuple[document.Path, FieldInfo]]:
    """All that is set, wherever, with its field."""
    for name, field in type(model).model_fields.items():
        if name not in model.model_fields_set:
            continue
        value, here = getattr(model, name), (*path, field.alias or name)
        yield here, field
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, BaseModel):
                yield from _set_fields(item, (*here, index) if isinstance(value, list) else here)

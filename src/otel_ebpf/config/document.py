"""A YAML document as plain values, with the line of each, after substitution of variables.

Works on the parser's nodes: a variable's text becomes the content of one value and can't add structure, and
its type is found anew (`${PORT:-80}` is a number, `"${PORT:-80}"` is text).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from otel_ebpf.config.substitution import references, substitute
from otel_ebpf.errors import ConfigError

Path = tuple[str | int, ...]


@dataclass(slots=True)
class Document:
    """`lines` has the line, from 1, of every key and list item by its path; `references` the variables in a value."""

    name: str
    content: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    references: dict[Path, tuple[str, ...]] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """Line of what is at `path`, or of the nearest thing around it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def at(self, path: Path) -> Any:
        """The value at a path that is there."""
        value = self.content
        for part in path:
            value = value[part]
        return value

    def find(self, dotted: str) -> Path | None:
        """The path that `a.b[0].*.c` stands for, if it is there; `*` is any one key."""
        parts = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", dotted)]
        return next((path for path in self.lines if _matches(path, parts)), None)


def _matches(path: Path, parts: list[str | int]) -> bool:
    return len(path) == len(parts) and all(part in ("*", own) for own, part in zip(path, parts, strict=True))


def parse(text: str, name: str, variables: Mapping[str, str]) -> Document:
    """Reads one document. Raises ConfigError with file name and line."""
    loader = yaml.SafeLoader(text)
    document = Document(name)
    try:
        node = loader.get_single_node()
        if node is not None:
            document.content = _Builder(loader, document, variables).build(node, (), ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{where}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {error}") from error
    finally:
        loader.dispose()
    return document


def _resolve(loader: Any, value: str) -> Any:
    """The tag of a plain scalar; PyYAML's stubs leave this method untyped."""
    return loader.resolve(yaml.ScalarNode, value, (True, False))


class _Builder:
    def __init__(self, loader: yaml.SafeLoader, document: Document, variables: Mapping[str, str]) -> None:
        self._loader = loader
        self._document = document
        self._variables = variables

    def build(self, node: yaml.Node, path: Path, around: tuple[int, ...]) -> Any:
        """The value of a node; `around` are the nodes it is in, by id: an alias can refer to one of them."""
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in around:
            self._fail(node, "an alias that contains itself")
        around = (*around, id(node))
        if isinstance(node, yaml.MappingNode):
            return {key: self.build(value, (*path, key), around) for key, value in self._entries(node, path)}
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index), around) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _entries(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node]]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                self._fail(key_node, f"{key_node.value} is there twice")
            seen.add(key_node.value)
        self._loader.flatten_mapping(node)  # puts what `<<` merges before the mapping's own
        for key_node, value in node.value:
            self._document.lines[*path, str(key_node.value)] = key_node.start_mark.line + 1
            yield str(key_node.value), value

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        if names := references(node.value):
            self._document.references[path] = names
        try:
            value = substitute(node.value, self._variables)
        except ValueError as error:
            self._fail(node, str(error))
        if value != node.value:
            quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
            tag = node.tag if quoted else str(_resolve(self._loader, value))
            node = yaml.ScalarNode(tag, value, node.start_mark, node.end_mark)
        try:
            return self._loader.construct_object(node)
        except ValueError as error:
            self._fail(node, str(error))

    def _fail(self, node: yaml.Node, problem: str) -> NoReturn:
        raise ConfigError(f"{self._document.name}:{node.start_mark.line + 1}: {problem}")

"""`${VAR}`, `${env:VAR}` and `${VAR:-default}` in a value of the declarative file; `$$` is a dollar.

Source: OpenTelemetry specification, configuration data model, "Environment variable substitution". What is put
in is never looked at again, so a variable can't smuggle in another reference.
"""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(
    r"""
    \$\$                                  # an escaped dollar
    | \$\{ (?: env: )?
        (?P<name> [a-zA-Z_][a-zA-Z0-9_]* )
        (?: :- (?P<default> [^\n}]* ) )?
      \}
    | (?P<bad> \$\{ [^}]* \}? )           # looks like a reference, is none
    """,
    re.VERBOSE,
)


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """`text` with its references replaced; one to a variable that is unset or empty becomes its default, or "".

    Raises ValueError for something like `${1X}` or `${A-b}`.
    """

    def replacement(match: re.Match[str]) -> str:
        if match["bad"]:
            raise ValueError(f"{match['bad']} is not a reference such as ${{VAR}} or ${{VAR:-default}}")
        if not match["name"]:
            return "$"
        return variables.get(match["name"], "") or match["default"] or ""

    return _REFERENCE.sub(replacement, text)


def references(text: str) -> tuple[str, ...]:
    """Names of the variables that `text` refers to."""
    return tuple(match["name"] for match in _REFERENCE.finditer(text) if match["name"])

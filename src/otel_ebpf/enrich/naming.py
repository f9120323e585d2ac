"""What a program is called: its executable, or what it interprets.

/usr/sbin/nginx -g …                  nginx
python3 -m http.server 80             http.server
python3 /srv/venv/bin/gunicorn a:b    gunicorn
node /srv/shop/index.js               shop
java -Xmx1g -jar /srv/shop-1.2.jar    shop-1.2
java -cp … org.example.Main           org.example.Main
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final


@dataclass(frozen=True, slots=True)
class _Interpreter:
    """How an interpreter takes its program. `language` and `runtime` are the conventions' names."""

    pattern: re.Pattern[str]
    language: str
    runtime: str
    takes_value: frozenset[str] = frozenset()  # options whose value is the next argument
    names_module: frozenset[str] = frozenset()  # options whose value is the program's name
    names_file: frozenset[str] = frozenset()  # options whose value is the program's file
    no_program: frozenset[str] = frozenset()  # options that bring code along: nothing to name it by


def _interpreter(pattern: str, language: str, runtime: str, **options: str) -> _Interpreter:
    sets = {name: frozenset(words.split()) for name, words in options.items()}
    return _Interpreter(re.compile(pattern), language, runtime, **sets)


_INTERPRETERS: Final = (
    _interpreter(
        r"(python|pypy)[0-9.]*t?",
        "python",
        "cpython",
        takes_value="-W -X --check-hash-based-pycs",
        names_module="-m",
        no_program="-c",
    ),
    _interpreter(
        r"node(js)?[0-9]*",
        "nodejs",
        "nodejs",
        takes_value="-r --require --import --loader --experimental-loader --conditions -C --env-file --title",
        no_program="-e --eval -p --print",
    ),
    _interpreter(r"bun", "nodejs", "bun", takes_value="-r --preload --cwd", no_program="-e --eval"),
    _interpreter(
        r"java",
        "java",
        "OpenJDK Runtime Environment",
        takes_value="-cp -classpath --class-path -p --module-path --add-modules --add-opens --add-exports --add-reads "
        "--upgrade-module-path --limit-modules --patch-module",
        names_module="-m --module",
        names_file="-jar",
    ),
    _interpreter(r"ruby[0-9.]*", "ruby", "ruby", takes_value="-I -r -C -E", no_program="-e"),
    _interpreter(r"perl[0-9.]*", "perl", "perl", takes_value="-I", no_program="-e -E"),
    _interpreter(r"php[0-9.]*", "php", "php", takes_value="-c -d -z", names_file="-f", no_program="-r -S"),
    _interpreter(r"dotnet", "dotnet", ".NET", takes_value="--fx-version --additionalprobingpath", names_file="exec"),
)
_EXTENSIONS: Final = {".py", ".pyc", ".pyz", ".js", ".mjs", ".cjs", ".ts", ".jar", ".war", ".rb", ".pl", ".php", ".dll"}
# Say nothing by themselves: the directory is the program's name.
_PLAIN: Final = {"__main__", "index"}


@dataclass(frozen=True, slots=True)
class ProgramName:
    """`language` and `runtime` are "" for what is not interpreted."""

    name: str
    language: str = ""
    runtime: str = ""


def program_name(executable: str, args: Sequence[str], working_directory: str = "") -> ProgramName:
    """Name of the program: `executable` is a path or a name, `args` include argv[0]."""
    name = PurePosixPath(executable).name
    interpreter = next((one for one in _INTERPRETERS if one.pattern.fullmatch(name)), None)
    if interpreter is None:
        return ProgramName(name)
    program = _interpreted(interpreter, [arg for arg in args[1:] if arg], working_directory) or _title(args)
    if interpreter.pattern.fullmatch(program):
        program = name
    return ProgramName(program or name, interpreter.language, interpreter.runtime)


def _title(args: Sequence[str]) -> str:
    """The program's part of a title that took the place of the arguments: gunicorn of "gunicorn: master [shop]"."""
    words = args[0].partition(":")[0].split() if args else []
    return PurePosixPath(words[0]).name if words else ""


def _interpreted(interpreter: _Interpreter, args: Sequence[str], working_directory: str) -> str:
    """What the interpreter runs, "" where its arguments do not say."""
    rest = iter(args)
    for arg in rest:
        option, equals, value = arg.partition("=")
        if option in interpreter.no_program:
            return ""
        if option in interpreter.names_module:
            # Java's is module/class
            return (value if equals else next(rest, "")).rpartition("/")[2]
        if option in interpreter.names_file:
            return _file_name(next(rest, ""), working_directory)
        if option in interpreter.takes_value:
            if not equals:
                next(rest, "")
        elif arg == "--":
            return _file_name(next(rest, ""), working_directory)
        elif not arg.startswith("-"):
            return _file_name(arg, working_directory) if interpreter.language != "java" else arg.removesuffix(".java")
    return ""


def _file_name(path: str, working_directory: str) -> str:
    file = PurePosixPath(working_directory, path) if path else PurePosixPath()
    name = file.stem if file.suffix in _EXTENSIONS else file.name
    return file.parent.name or name if name in _PLAIN else name

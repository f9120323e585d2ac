"""Go's table of functions, .gopclntab, which stays in a program that was stripped: name → address and size.

    header          magic, 0, 0, 1, 8 │ nfunc │ nfiles │ textStart │ offsets of: names, cus, files, pctab, functab
    functab         nfunc of (entry u32, _func u32), then the end of the last one (u32)
    _func           entry u32, name i32, ...

Entries count from the start of Go's code, names from the names' offset, _funcs from functab's. Where Go's code starts
stands in the header (0 since Go 1.26), and in moduledata. Source: runtime/symtab.go (pcHeader, moduledata, _func) and
internal/abi/symtab.go of Go 1.18, 1.20 and 1.26.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from struct import Struct
from typing import Final

from otel_ebpf.discover.tls.elf import Elf, MalformedElf, Section, Symbol

_MAGICS: Final = {0xFFFFFFF0: "1.18", 0xFFFFFFF1: "1.20"}
_BEGIN: Final = Struct("<IBBBB")
_HEADER: Final = Struct("<IBBBBQQQQQQQQ")
_TEXT_START: Final = 24  # in the header
_MODULE_TEXT: Final = 176  # moduledata.text: behind pcHeader, six slices, findfunctab, minpc and maxpc
_SECTIONS: Final = (".gopclntab", ".data.rel.ro.gopclntab")
_MERGED: Final = ".data.rel.ro"
_MAX_FUNCTIONS: Final = 1 << 21
_MAX_TABLE_BYTES: Final = 64 << 20
_MAX_NAME_BYTES: Final = 128 << 20

Plausible = Callable[[int], bool]


def functions(elf: Elf, names: Iterable[str], starts_right: Plausible) -> dict[str, Symbol]:
    """Those of the named functions that the program has. MalformedElf if its table is not one that we know.

    `starts_right` says of an address whether one of these functions may begin there.
    """
    table = _table(elf)
    if table is None or table.size < _HEADER.size:
        raise MalformedElf("no .gopclntab")
    magic, zero, zero_too, quantum, pointer_bytes, count, _, _, at_names, at_units, _, _, at_functions = _HEADER.unpack(
        elf.read(table.offset, _HEADER.size)
    )
    if magic not in _MAGICS or (zero, zero_too, quantum, pointer_bytes) != (0, 0, 1, 8):
        raise MalformedElf(f"a table of functions that starts with {magic:#x}")
    if (
        not 0 < count <= _MAX_FUNCTIONS
        or not at_names <= at_units <= at_functions <= table.size
        or (at_units - at_names > _MAX_NAME_BYTES)
    ):
        raise MalformedElf(f"a table of {count} functions")
    wanted = {}
    for name in names:
        text = b"\0" + name.encode() + b"\0"
        if (at := elf.find(table.offset + at_names, at_units - at_names, text)) >= 0:
            wanted[at + 1] = name
    found = list(_entries(elf, table, at_functions, count, wanted)) if wanted else []
    if not found:
        return {}
    for start in _starts(elf, table):
        if starts_right(start + found[0].address):
            return {symbol.name: Symbol(symbol.name, start + symbol.address, symbol.size) for symbol in found}
    raise MalformedElf("Go's code does not start where it should")


def _table(elf: Elf) -> Section | None:
    """The table's section, or the part of a larger one that begins with it: an external linker may merge them."""
    for name in _SECTIONS:
        if section := elf.section(name):
            return section
    if section := elf.section(_MERGED):
        for magic in _MAGICS:
            at = elf.find(section.offset, section.size, _BEGIN.pack(magic, 0, 0, 1, 8))
            if at >= 0:
                return replace(
                    section, address=section.address + at, offset=section.offset + at, size=section.size - at
                )
    return None


def _entries(elf: Elf, table: Section, at: int, count: int, wanted: dict[int, str]) -> Iterator[Symbol]:
    """Functions, with addresses that count from the start of Go's code."""
    size = (table.size - at) // 4 * 4
    if size > _MAX_TABLE_BYTES or size < 8 * count + 4:
        raise MalformedElf(f"a table of {count} functions in {size} bytes")
    words = array("I", elf.read(table.offset + at, size))
    last = len(words) - 2
    for index, offset in enumerate(words[1 : 2 * count : 2]):
        place = offset // 4
        if place <= last and words[place + 1] in wanted:
            begin, end = words[2 * index], words[2 * index + 2]
            if end > begin:
                yield Symbol(wanted[words[place + 1]], begin, end - begin)


def _starts(elf: Elf, table: Section) -> Iterator[int]:
    """Where Go's code may start, the likeliest first."""
    for section, offset in ((table, _TEXT_START), (elf.section(".go.module"), _MODULE_TEXT)):
        if section:
            try:
                yield elf.pointer(section.address + offset)
            except MalformedElf:
                continue
    if text := elf.section(".text"):
        yield text.address

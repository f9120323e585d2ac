"""Just enough of ELF to find functions by name, in files that nobody vouches for.

Not pyelftools: node's 180,000 symbols take it seconds, and a broken file has it raise whatever comes. Here each
read is checked against the file, every count has a bound, tables are searched piecewise, and what is wrong is one
exception, `MalformedElf`. Files are read, never mapped: one that shrinks must not kill us by SIGBUS.

Source: System V ABI, chapters 4 and 5, and its AMD64 supplement.
"""

import os
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

EM_X86_64: Final = 62

_HEADER: Final = Struct("<16xHHIQQQIHHHHHH")
_PROGRAM_HEADER: Final = Struct("<IIQQQQQQ")
_SECTION_HEADER: Final = Struct("<IIQQQQIIQQ")
_SYMBOL: Final = Struct("<IBBHQQ")
_GNU_HASH: Final = Struct("<IIII")
_HALF: Final = Struct("<I")
_WORD: Final = Struct("<Q")

_PT_LOAD, _PF_X = 1, 1
_SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS, _SHT_DYNSYM = 2, 4, 8, 11
_SHT_GNU_HASH: Final = 0x6FFFFFF6
_STT_FUNC: Final = 2
_R_FUNCTIONS: Final = frozenset({6, 7})  # R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT

_MAX_SEGMENTS: Final = 256
_MAX_SECTIONS: Final = 8192
_MAX_SYMBOL_BYTES: Final = 48 << 20  # two million symbols
_MAX_STRING_BYTES: Final = 128 << 20
_MAX_RELOCATION_BYTES: Final = 32 << 20  # of all tables
_MAX_SEARCH_BYTES: Final = 128 << 20
_MAX_HITS: Final = 4096
_MAX_CHAIN: Final = 1024
_MAX_TABLES: Final = 2
_CONSTANTS: Final = (".rodata", ".data.rel.ro")
_PIECE: Final = 3 << 18  # a multiple of the sizes of a symbol and of a relocation
_LONGEST_NAME: Final = 256


class MalformedElf(Exception):
    """The file is not what it says it is."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section header. `size` is in the file, so 0 for .bss."""

    name: str
    type: int
    address: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A loaded piece: the file's bytes [offset, offset+size) stand at [address, address+size)."""

    address: int
    offset: int
    size: int
    flags: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function. `address` is virtual, as the file has it."""

    name: str
    address: int
    size: int


class Elf:
    """An open file, read on demand. The caller keeps `descriptor` open for as long as it asks."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._imports: dict[int, tuple[int, int]] | None = None  # pointer: (symbol table, index)
        self.size = os.fstat(descriptor).st_size
        if self.read(0, 6) != b"\x7fELF\x02\x01":
            raise MalformedElf("not a 64-bit little-endian ELF file")
        (
            self.type,
            self.machine,
            _,
            _,
            program_headers,
            section_headers,
            _,
            _,
            program_header_size,
            count,
            section_header_size,
            sections,
            names,
        ) = _HEADER.unpack(self.read(0, _HEADER.size))
        if count > _MAX_SEGMENTS or (count and program_header_size != _PROGRAM_HEADER.size):
            raise MalformedElf(f"{count} segments")
        self.segments = tuple(
            Segment(address, offset, size, flags)
            for type_, flags, offset, address, _, size, _, _ in _PROGRAM_HEADER.iter_unpack(
                self.read(program_headers, count * _PROGRAM_HEADER.size)
            )
            if type_ == _PT_LOAD
        )
        self.sections = self._read_sections(section_headers, sections, section_header_size, names)

    def read(self, offset: int, size: int) -> bytes:
        """Exactly these bytes of the file."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise MalformedElf(f"{size} bytes at {offset:#x} are not in the file")
        data = os.pread(self._descriptor, size, offset)
        if len(data) != size:
            raise MalformedElf(f"{size} bytes at {offset:#x} could not be read")
        return data

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def file_offset(self, address: int) -> int:
        """Where in the file the byte stands that is loaded at `address`."""
        for segment in self.segments:
            if segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        raise MalformedElf(f"nothing is loaded at {address:#x}")

    def code(self, address: int, size: int) -> bytes:
        """Up to `size` bytes of code from `address` on, as far as its segment goes."""
        for segment in self.segments:
            if segment.flags & _PF_X and segment.address <= address < segment.address + segment.size:
                start = address - segment.address
                return self.read(segment.offset + start, min(size, segment.size - start))
        raise MalformedElf(f"no code is loaded at {address:#x}")

    def functions(self, names: Iterable[str]) -> dict[str, Symbol]:
        """Those of the named functions that this file defines, exported or, where it keeps all symbols, local."""
        wanted = tuple(names)
        found: dict[str, Symbol] = {}
        for table in self._symbol_tables():
            missing = [name for name in wanted if name not in found]
            hashes = self._hashes(table)
            symbols = self._hashed(table, hashes, missing) if hashes else self._searched(table, missing)
            found |= {symbol.name: symbol for symbol in symbols}
        return found

    def all_names(self, pattern: re.Pattern[bytes]) -> set[bytes]:
        """What `pattern` finds among the names of all symbols."""
        return {text for table in self._symbol_tables() for text in self._matches(self._linked(table), pattern)}

    def names(self, pattern: re.Pattern[bytes]) -> set[str]:
        """What `pattern` finds among the names of dynamic symbols and of their versions."""
        return {
            text.decode("ascii", "replace")
            for table in self._symbol_tables()
            if table.type == _SHT_DYNSYM
            for text in self._matches(self._linked(table), pattern)
        }

    def find_constant(self, marker: bytes, pattern: re.Pattern[bytes] | None = None) -> re.Match[bytes] | None:
        """`pattern` (by default, the marker) where `marker` stands first in data that the program can't write."""
        exact = pattern or re.compile(re.escape(marker))
        budget = _MAX_SEARCH_BYTES
        for section in self.sections:
            if not section.name.startswith(_CONSTANTS):
                continue
            size = min(section.size, budget)
            budget -= size
            for _, piece in self._pieces(section.offset, size):
                at = piece.find(marker)
                while at >= 0:
                    if found := exact.match(piece, at):
                        return found
                    at = piece.find(marker, at + 1)
        return None

    def find(self, offset: int, size: int, text: bytes) -> int:
        """Where `text` (at most 256 bytes) first stands among these bytes, counted from the first; -1 if nowhere."""
        for start, piece in self._pieces(offset, size):
            if (at := piece.find(text)) >= 0:
                return start + at
        return -1

    def imported_by(self, pointer: int) -> str:
        """The function whose address the dynamic linker writes to `pointer`; "" if it writes none."""
        if self._imports is None:
            self._imports = {}
            for section, words in self._relocations():
                for i, info in enumerate(words[1::3]):
                    if info & 0xFFFFFFFF in _R_FUNCTIONS:
                        self._imports[words[3 * i]] = (section.link, info >> 32)
        table, index = self._imports.get(pointer, (0, 0))
        return self._symbol_name(table, index) if index else ""

    def pointer(self, address: int) -> int:
        """The pointer at `address`, as it would be in a program loaded where the file says."""
        (value,) = _WORD.unpack(self.read(self.file_offset(address), _WORD.size))
        if value == 0:
            for _, words in self._relocations():
                try:
                    return int(words[3 * words[0::3].index(address) + 2])
                except ValueError:
                    continue
        return int(value)

    def _relocations(self) -> Iterator[tuple[Section, "array[int]"]]:
        """(table, words) of relocations: of each the address, the symbol's index and the type, and the addend."""
        budget = _MAX_RELOCATION_BYTES
        for section in self.sections:
            if section.type != _SHT_RELA or section.size > budget:
                continue
            budget -= section.size
            for start in range(0, section.size - 23, _PIECE):
                size = min(_PIECE, section.size - start) // 24 * 24
                yield section, array("Q", self.read(section.offset + start, size))

    def _read_sections(self, offset: int, count: int, entry_size: int, names: int) -> tuple[Section, ...]:
        if offset == 0 or count == 0:
            return ()
        if count > _MAX_SECTIONS or entry_size != _SECTION_HEADER.size or names >= count:
            raise MalformedElf(f"{count} sections")
        rows = list(_SECTION_HEADER.iter_unpack(self.read(offset, count * entry_size)))
        _, _, _, _, names_offset, names_size, *_ = rows[names]
        texts = self.read(names_offset, min(names_size, 1 << 20))
        return tuple(
            Section(
                texts[name : name + 64].partition(b"\0")[0].decode("latin-1"),
                type_,
                address,
                at,
                0 if type_ == _SHT_NOBITS else size,
                link,
            )
            for name, type_, _, address, at, size, link, _, _, _ in rows
        )

    def _symbol_tables(self) -> list[Section]:
        """Those of a size that we search, with their names."""
        return [
            section
            for kind in (_SHT_DYNSYM, _SHT_SYMTAB)
            for section in self.sections
            if section.type == kind
            and 0 < section.size <= _MAX_SYMBOL_BYTES
            and section.link < len(self.sections)
            and self.sections[section.link].size <= _MAX_STRING_BYTES
        ][:_MAX_TABLES]

    def _linked(self, table: Section) -> Section:
        if table.link >= len(self.sections):
            raise MalformedElf(f"{table.name} has no names")
        return self.sections[table.link]

    def _hashes(self, table: Section) -> Section | None:
        """The hash table that the dynamic linker finds names of `table` with."""
        for section in self.sections:
            if section.type == _SHT_GNU_HASH and section.size >= 16:
                return section if self.sections.index(table) == section.link else None
        return None

    def _hashed(self, table: Section, hashes: Section, names: list[str]) -> Iterator[Symbol]:
        """Looked up as in glibc's do_lookup_x, without its Bloom filter."""
        buckets, first, bloom_words, _ = _GNU_HASH.unpack(self.read(hashes.offset, _GNU_HASH.size))
        at_buckets = hashes.offset + _GNU_HASH.size + 8 * bloom_words
        at_chains = at_buckets + 4 * buckets
        last = hashes.offset + hashes.size - 4
        for name in names if buckets else ():
            wanted = _gnu_hash(name)
            (index,) = _HALF.unpack(self.read(at_buckets + 4 * (wanted % buckets), 4))
            for each in range(index, index + _MAX_CHAIN) if index >= first else ():
                at = at_chains + 4 * (each - first)
                if at > last:
                    break
                (value,) = _HALF.unpack(self.read(at, 4))
                if value | 1 == wanted | 1 and self._symbol_name(hashes.link, each) == name:
                    symbol = self._symbol(name, self.read(table.offset + 24 * each, 24))
                    if symbol:
                        yield symbol
                        break
                if value & 1:
                    break

    def _searched(self, table: Section, names: list[str]) -> Iterator[Symbol]:
        strings = self._linked(table)
        wanted = {}
        for start, piece in self._pieces(strings.offset, strings.size):
            for name in names:
                if (at := piece.find(b"\0" + name.encode() + b"\0")) >= 0:
                    wanted[start + at + 1] = name
        if not wanted:
            return
        for start in range(0, table.size - 23, _PIECE):
            data = self.read(table.offset + start, min(_PIECE, table.size - start) // 24 * 24)
            hits = [i for i, at in enumerate(array("I", data)[0::6]) if at in wanted]
            for i in hits[:_MAX_HITS]:
                row = data[24 * i : 24 * i + 24]
                if symbol := self._symbol(wanted[_HALF.unpack_from(row)[0]], row):
                    yield symbol

    def _symbol(self, name: str, row: bytes) -> Symbol | None:
        """None if it is not a function, or only imported."""
        _, info, _, section, address, size = _SYMBOL.unpack(row)
        return Symbol(name, address, size) if info & 0xF == _STT_FUNC and section and size else None

    def _symbol_name(self, table_index: int, index: int) -> str:
        if table_index >= len(self.sections):
            return ""
        table = self.sections[table_index]
        strings = self._linked(table)
        name, *_ = _SYMBOL.unpack(self.read(table.offset + 24 * index, 24))
        if name >= strings.size:
            return ""
        text = self.read(strings.offset + name, min(_LONGEST_NAME, strings.size - name))
        return text.partition(b"\0")[0].decode("latin-1")

    def _matches(self, section: Section, pattern: re.Pattern[bytes]) -> Iterator[bytes]:
        hits = 0
        for _, piece in self._pieces(section.offset, section.size):
            for match in pattern.finditer(piece):
                hits += 1
                if hits > _MAX_HITS:
                    return
                yield match[0]

    def _pieces(self, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
        """(start, bytes) of pieces that overlap, so that a short text is whole in one of them."""
        for start in range(0, size, _PIECE):
            yield start, self.read(offset + start, min(_PIECE + _LONGEST_NAME, size - start))


def _gnu_hash(name: str) -> int:
    value = 5381
    for byte in name.encode():
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value

"""Go's crypto/tls, inside every Go program that uses it.

    func (c *Conn) Read(b []byte) (int, error)        c in rax, b in rbx (pointer), rcx (length), rdi (capacity)
    func (c *Conn) Write(b []byte) (int, error)       results in rax, rbx and rcx; g in r14     (ABIInternal, Go ≥ 1.17)
    func (c *Conn) handshakeContext(ctx context.Context) error

No uretprobes: Go moves its stacks, and unwinds them by the return addresses that it finds. So the end is seen on
instructions of the function itself. A RET must be stepped over, and nothing right before it is emulated, but both
functions unlock by defer: right before they return they call a closure, Read.deferwrap1, and load the results from
the stack behind it. The closure's entry is cheap, and there the number of bytes stands at a known distance from rsp.
Where there are several closures, they run from the last to the first, and the first with a cheap entry is taken. RETs
that are not behind its call get probes too: nothing was read or written there, so they are rare.

The entry's stack check (`cmp rsp, [r14+0x10]`, `jbe`) starts the function again once the stack has grown, so the
place is behind it where there is one.
"""

import re
from itertools import takewhile
from typing import Final

from iced_x86 import FlowControl, Mnemonic, OpKind, Register

from otel_ebpf.discover.tls.code import RAX, RSP, Function, Graph, Step, memory
from otel_ebpf.discover.tls.elf import Elf, MalformedElf, Symbol
from otel_ebpf.discover.tls.emulation import emulated
from otel_ebpf.discover.tls.findings import Attachment, Probe, Refusal
from otel_ebpf.discover.tls.pclntab import functions
from otel_ebpf.discover.tls.probes import load, probe

_READ: Final = "crypto/tls.(*Conn).Read"
_WRITE: Final = "crypto/tls.(*Conn).Write"
_CLOSE: Final = "crypto/tls.(*Conn).Close"
_HANDSHAKE: Final = "crypto/tls.(*Conn).handshakeContext"
_CLOSURES: Final = (".deferwrap", ".func")  # so called since Go 1.21, and before
_MAX_CLOSURES: Final = 3
_NAMES: Final = (
    *(_READ, _WRITE, _CLOSE, _HANDSHAKE),
    *(f"{of}{kind}{n}" for of in (_READ, _WRITE) for kind in _CLOSURES for n in range(1, _MAX_CLOSURES + 1)),
)

_BUILD_INFO: Final = re.compile(rb"\xff Go buildinf:\x08(.).{16}(.)(go|devel )", re.DOTALL)
_VERSION: Final = re.compile(r"go1\.(\d+)")
_OLDEST: Final = 18
# cmp rsp, [r14+0x10]; or, with a large frame, lea r12, [rsp-n] first; or nothing of that: sub rsp, push rbp.
_PROLOGUE: Final = re.compile(
    rb"\x49\x3b\x66\x10|\x4d\x8b\x66\x20|\x4c\x8d\x64\x24.\x4d\x3b\x66\x10|\x4c\x8d\xa4\x24....\x4d\x3b\x66\x10|\x48\x83\xec|\x55",
    re.DOTALL,
)


def examine(elf: Elf) -> Attachment | Refusal | None:
    """None if it is no Go program, or one without crypto/tls."""
    version = _version(elf)
    if version is None:
        return None
    minor = _VERSION.match(version)
    if minor and int(minor[1]) < _OLDEST:
        return Refusal("go", f"tables and calls of Go before 1.{_OLDEST} are not known", version)
    try:
        symbols = functions(elf, _NAMES, lambda address: _begins(elf, address))
        if _READ not in symbols or _WRITE not in symbols:
            return None
        probes: list[Probe] = []
        for name in (_READ, _WRITE):
            function = _load(elf, symbols[name])
            probes.append(_enter(function, (Register.RAX, Register.RBX, Register.RCX)))
            probes += _end(function, [_load(elf, each) for each in _deferred(symbols, name)])
        if _HANDSHAKE in symbols:
            # Once a connection: that its RETs are stepped over does not matter.
            function = _load(elf, symbols[_HANDSHAKE])
            probes += _enter(function, (Register.RAX,)), *_end(function, [])
        if _CLOSE in symbols:
            probes.append(_enter(_load(elf, symbols[_CLOSE]), (Register.RAX,)))
    except MalformedElf as error:
        return Refusal("go", f"unknown layout: {error}", version)
    return Attachment("go", version, tuple(probes))


def _version(elf: Elf) -> str | None:
    """What built the program, "" if it does not say in a way that we know; None if it was not Go."""
    section = elf.section(".go.buildinfo")
    if section is None:
        return None
    data = elf.read(section.offset, min(section.size, 256))
    found = _BUILD_INFO.match(data)
    if found is None or not found[1][0] & 2:  # the version stands elsewhere, which ended with Go 1.17
        return "go1.17 or older" if data.startswith(b"\xff Go buildinf:") else ""
    return data[33 : 33 + found[2][0]].decode("ascii", "replace")


def _begins(elf: Elf, address: int) -> bool:
    """Whether a function may begin there."""
    try:
        return _PROLOGUE.match(elf.code(address, 16)) is not None
    except MalformedElf:
        return False


def _load(elf: Elf, symbol: Symbol) -> Function:
    return load(elf, symbol.name, symbol.address, symbol.size)


def _deferred(symbols: dict[str, Symbol], name: str) -> list[Symbol]:
    """What the function defers, in the order of its source."""
    for kind in _CLOSURES:
        names = takewhile(symbols.__contains__, (f"{name}{kind}{number}" for number in range(1, _MAX_CLOSURES + 1)))
        if found := [symbols[each] for each in names]:
            return found
    return []


def _enter(function: Function, arguments: tuple[int, ...]) -> Probe:
    step, _ = _place(function, frozenset(arguments))
    return probe(function, "enter", step)


def _place(function: Function, untouched: frozenset[int]) -> tuple[Step, bool]:
    """The first emulated instruction behind the stack check, and whether rsp is there as at the entry."""
    check: Step | None = None
    written: frozenset[int] = frozenset()
    address = function.start
    for _ in range(64):
        step = function.step(address)
        if emulated(step.raw) and not written & untouched:
            if step.flow == FlowControl.CONDITIONAL_BRANCH and check is None:
                check = step
            else:
                return step, RSP not in written
        elif step.flow != FlowControl.NEXT:
            break
        written |= step.writes
        address = step.next_address
        if step.flow not in {FlowControl.NEXT, FlowControl.CONDITIONAL_BRANCH} or written & untouched:
            break
    return check or function.step(function.start), True


def _end(function: Function, deferred: list[Function]) -> list[Probe]:
    graph = function.graph()
    predecessors = graph.predecessors()
    returns = {address: step for address, step in graph.steps.items() if step.flow == FlowControl.RETURN}
    if graph.lost or not returns:
        raise MalformedElf(f"where {function.name} ends can't be seen")
    slots = {address: _slot(graph, predecessors, step) for address, step in returns.items()}
    offsets = {offset for offset, calls in slots.values() if calls}
    probes = []
    for number, closure in enumerate(deferred, 1):
        step, as_at_entry = _place(closure, frozenset({RSP}))
        if len(offsets) == 1 and as_at_entry and emulated(step.raw):
            # At the closure's entry its return address lies on top of the function's own frame.
            probes.append(probe(closure, "exit", step, of=function.name, result_at=8 + offsets.pop()))
            returns = {address: step for address, step in returns.items() if slots[address][1] < number}
            break
    return [*probes, *(probe(function, "exit", returns[address]) for address in sorted(returns))]


def _slot(graph: Graph, predecessors: dict[int, list[int]], end: Step) -> tuple[int, int]:
    """(offset from rsp that rax is loaded from, indirect calls) before this RET, as far as there was no choice."""
    slot: int | None = None
    calls = 0
    step = end
    for _ in range(48):
        before = predecessors.get(step.address, [])
        if len(before) != 1:
            break
        step = graph.steps[before[0]]
        if step.flow == FlowControl.INDIRECT_CALL:
            if slot is None or not _calls_closure(graph, predecessors, step):
                break
            calls += 1
        elif step.flow != FlowControl.NEXT:
            break
        elif RAX in step.writes and slot is None:
            slot = _stack_load(step)
            if slot is None:
                break
    return slot or 0, calls


def _calls_closure(graph: Graph, predecessors: dict[int, list[int]], call: Step) -> bool:
    """Whether it is `mov rax, [rdx]`, `call rax`: a closure's code is the first word of what rdx points to."""
    address = call.address
    while len(before := predecessors.get(address, [])) == 1:
        address = before[0]
        load = graph.steps[address].instruction
        if load.mnemonic != Mnemonic.NOP:
            return (
                load.mnemonic == Mnemonic.MOV
                and int(load.op0_register) == int(call.instruction.op0_register)
                and load.op1_kind == OpKind.MEMORY
                and memory(load) == (Register.RDX, 0)
            )
    return False


def _stack_load(step: Step) -> int | None:
    """The offset of `mov rax, [rsp+offset]`."""
    loaded = step.instruction
    if loaded.mnemonic != Mnemonic.MOV or loaded.op1_kind != OpKind.MEMORY:
        return None
    operand = memory(loaded)
    return operand[1] if operand and operand[0] == Register.RSP else None

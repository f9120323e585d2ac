"""Chooses the instructions of a function that probes go on: cheap ones, at which registers hold what is wanted.

Where a call enters: from the entry on, as long as instructions follow each other without a choice, the first one
that the kernel emulates, if none before it wrote an argument's register. It runs once in every call.

Where it ends: an instruction that the kernel emulates, from which every way to a RET leaves rax alone. Every way from
the entry to a RET must meet one; if a single one does not (or goes where we can't see: an indirect jump, another
function), there is no exit, and a uretprobe must do. That goes where rsp is still as at the entry, for the kernel
replaces the return address that it finds there.
"""

from collections.abc import Callable, Sequence
from typing import Final

from iced_x86 import FlowControl, Mnemonic, OpKind, Register

from otel_ebpf.discover.tls.code import RAX, RSP, Function, Graph, Step
from otel_ebpf.discover.tls.elf import Elf, MalformedElf
from otel_ebpf.discover.tls.emulation import emulated
from otel_ebpf.discover.tls.findings import Place, Probe

# System V ABI for AMD64, 3.2.3.
ARGUMENTS: Final = (Register.RDI, Register.RSI, Register.RDX, Register.RCX, Register.R8, Register.R9)
_MAX_FUNCTION_BYTES: Final = 1 << 16
_MAX_EXITS: Final = 12
_CLAMPS: Final = frozenset({Mnemonic.CMOVS, Mnemonic.CMOVL, Mnemonic.CMOVLE})


def load(elf: Elf, name: str, address: int, size: int) -> Function:
    """The function's code, if it is of a size that we follow."""
    if not 0 < size <= _MAX_FUNCTION_BYTES:
        raise MalformedElf(f"{name} has {size} bytes")
    return Function(elf, name, address, size)


def enter(function: Function, arguments: Sequence[int]) -> Probe:
    """Where the arguments' registers are as the caller left them; the entry itself where nothing is cheaper."""
    place = _first_emulated(function, frozenset(arguments))
    if place is None or _repeats(function, place):
        place = function.step(function.start)
    return probe(function, "enter", place)


def end(function: Function) -> tuple[Probe, ...]:
    """One or more exits, else one return."""
    try:
        exits = _exits(function, function.graph())
    except MalformedElf:
        exits = []
    if exits:
        return tuple(probe(function, "exit", step) for step in exits)
    return (_return(function),)


def whole(function: Function, arguments: Sequence[int]) -> tuple[Probe, ...]:
    """Enter and return, which need nothing but the function's beginning."""
    return enter(function, arguments), _return(function)


def goes_to(function: Function) -> set[int | str]:
    """Where its calls and its jumps beyond itself go: addresses, and names of imported functions."""
    found: set[int | str] = set()
    for step in function.graph().steps.values():
        if step.is_call or step.flow in {FlowControl.UNCONDITIONAL_BRANCH, FlowControl.INDIRECT_BRANCH}:
            found.add(function.callee(step))
            if step.target is not None and step.target not in function:
                found.add(step.target)
    return found - {""}


def wrapped(function: Function) -> Function | None:
    """The function that this one hands its arguments to as they are, and whose result is its own, negative ones aside.

    OpenSSL's SSL_read_ex is `return max(0, ssl_read_internal(...))`: it begins with `sub rsp, 8`, which must be
    stepped over, and the other one with a push.
    """
    try:
        head = function.straight()
        if not head or any(step.writes - {RSP} for step in head[:-1]):
            return None
        last, target = head[-1], head[-1].target
        if target is None or target in function:
            return None
        if last.flow != FlowControl.UNCONDITIONAL_BRANCH and not (
            last.flow == FlowControl.CALL and _clamps(function, last.next_address)
        ):
            return None
        callee = Function(function.elf, function.name, target, _MAX_FUNCTION_BYTES)
        callee.step(target)
    except MalformedElf:
        return None
    return callee


def _return(function: Function) -> Probe:
    return probe(function, "return", _first_emulated(function, frozenset({RSP})) or function.step(function.start))


def probe(function: Function, place: Place, step: Step, of: str = "", result_at: int | None = None) -> Probe:
    """A probe on that instruction."""
    offset = function.elf.file_offset(step.address)
    return Probe(of or function.name, place, offset, step.text, emulated(step.raw), result_at)


def _first_emulated(function: Function, untouched: frozenset[int]) -> Step | None:
    for step in function.straight():
        if emulated(step.raw):
            return step
        if step.writes & untouched:
            return None
    return None


def _repeats(function: Function, place: Step) -> bool:
    """Whether a loop of the function may come by again."""
    try:
        steps = function.graph().steps.values()
    except MalformedElf:
        return False
    return any(function.start < (step.target or 0) <= place.address for step in steps if not step.is_call)


def _exits(function: Function, graph: Graph) -> list[Step]:
    """The first places on all ways to a RET, in the order of their addresses; none if one way has none."""
    predecessors = graph.predecessors()
    returns = {address for address, step in graph.steps.items() if step.flow == FlowControl.RETURN}
    returning = _reach(returns | graph.lost, predecessors)  # from here the function can still return

    def spoils(address: int) -> bool:
        step = graph.steps[address]
        return address in graph.lost or RAX in step.writes

    # Unsettled: rax may be written at or behind it. `lost` ones count as writing.
    writers = {address for address in returning if spoils(address)}
    unsettled = graph.lost | _reach(
        {before for address in writers for before in predecessors.get(address, ()) if before in returning},
        {address: [b for b in before if b in returning] for address, before in predecessors.items()},
    )

    def fit(address: int) -> bool:
        step = graph.steps[address]
        return address in function and address not in unsettled and RAX not in step.writes and emulated(step.raw)

    def cut(ends: Callable[[int], bool]) -> set[int] | None:
        """The first of `ends` on every way to a RET; None if a way has none."""
        met: set[int] = set()
        seen: set[int] = set()
        todo = [function.start] if function.start in returning else []
        while todo:
            address = todo.pop()
            if address in seen:
                continue
            seen.add(address)
            if ends(address):
                met.add(address)
            elif address in returns or address in graph.lost:
                return None
            else:
                todo.extend(each for each in graph.successors[address] if each in returning)
        return met

    places = cut(fit) or set()
    if len(places) > _MAX_EXITS:
        return []
    for address in sorted(places):
        if cut((places - {address}).__contains__):  # every way through it meets another one later
            places.discard(address)
    return [graph.steps[address] for address in sorted(places)]


def _reach(start: set[int], edges: dict[int, list[int]]) -> set[int]:
    reached = set(start)
    todo = list(start)
    while todo:
        for each in edges.get(todo.pop(), ()):
            if each not in reached:
                reached.add(each)
                todo.append(each)
    return reached


def _clamps(function: Function, address: int) -> bool:
    """Whether the code from `address` on returns eax, or 0 where eax is not above zero."""
    zero: set[int] = set()
    tested = False  # the flags are those of `test eax, eax`
    for _ in range(32):
        step = function.step(address)
        instruction = step.instruction
        if step.flow == FlowControl.RETURN:
            return True
        if step.flow != FlowControl.NEXT:
            return False
        pair = (-1, -1)
        if instruction.op_count == 2 and instruction.op0_kind == instruction.op1_kind == OpKind.REGISTER:
            pair = (instruction.op0_register, instruction.op1_register)
        if instruction.mnemonic == Mnemonic.MOV and instruction.op1_kind == OpKind.IMMEDIATE32 and step.writes - {RAX}:
            if instruction.immediate(1) == 0:
                zero.add(instruction.op0_register)
        elif RAX in step.writes:
            if not (tested and instruction.mnemonic in _CLAMPS and pair[0] == Register.EAX and pair[1] in zero):
                return False
        elif instruction.mnemonic == Mnemonic.XOR and pair[0] == pair[1]:
            zero.add(pair[0])
        if instruction.rflags_modified:
            tested = instruction.mnemonic == Mnemonic.TEST and pair == (Register.EAX, Register.EAX)
        address = step.next_address
    return False

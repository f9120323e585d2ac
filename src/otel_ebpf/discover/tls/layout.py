"""Where an SSL object keeps what names its connection: read off the code of the functions that give it away.

    size_t SSL_get_client_random(const SSL *ssl, unsigned char *out, size_t outlen)

ends, in every version, in memcpy(out, <the place>, outlen). So that code is run on symbols: `Address(1, 2, 3)` stands
for *(*(ssl + 1) + 2) + 3, rdi begins as Address(0), rsi as `Out(0)`. Whatever is loaded from an Address and stored to
Out, or handed to memcpy, gives the place away. All that is met on any way through the function must agree. Likewise
for SSL_is_server, which returns an int of the object: what was loaded into rax when it returns.

Since OpenSSL 3.2 an SSL* may be a QUIC object; the int that it begins with is 0 for a TLS connection, and where the
code branches on that int, only the branch for 0 is followed. Before 3.2 that int was the version, which this
function never looked at.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from iced_x86 import ConditionCode, FlowControl, Instruction, Mnemonic, OpKind, Register

from otel_ebpf.discover.tls.code import Function, Step, full_register, memory
from otel_ebpf.discover.tls.elf import MalformedElf

_MAX_STEPS: Final = 2000
_MAX_DEPTH: Final = 4
_MAX_OFFSET: Final = 1 << 16
_SIGN: Final = 1 << 63
_TYPE: Final = (0,)  # the int that the object begins with, since 3.2
_EQUAL: Final = {ConditionCode.E: True, ConditionCode.NE: False}
_LOADS: Final = frozenset(
    {
        Mnemonic.MOV,
        Mnemonic.MOVZX,
        Mnemonic.MOVDQU,
        Mnemonic.MOVDQA,
        Mnemonic.MOVUPS,
        Mnemonic.MOVAPS,
        Mnemonic.MOVUPD,
        Mnemonic.MOVQ,
        Mnemonic.LDDQU,
        Mnemonic.VMOVDQU,
        Mnemonic.VMOVUPS,
    }
)


@dataclass(frozen=True, slots=True)
class _Address:
    path: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Out:
    offset: int


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What stands at `path`: data, or a pointer."""

    path: tuple[int, ...]


_Value = _Address | _Out | _Loaded


@dataclass(frozen=True, slots=True)
class _State:
    registers: dict[int, _Value]
    type_compared: int | None = None  # the flags compare the object's type with this

    def write(self, register: int, value: _Value | None) -> None:
        full = full_register(register)
        if value is None:
            self.registers.pop(full, None)
        else:
            self.registers[full] = value

    def read(self, register: int) -> _Value | None:
        return self.registers.get(full_register(register))


@dataclass(slots=True)
class _Seen:
    """Places that were copied to Out, and those of what was returned."""

    copied: set[tuple[int, ...]] = field(default_factory=set)
    returned: set[tuple[int, ...]] = field(default_factory=set)


def random_path(function: Function) -> tuple[int, ...]:
    """The way from SSL* to the random (findings.Attachment.random_path); empty if the code does not show it."""
    return _only(_watch(function).copied)


def server_offset(function: Function) -> int:
    """Where in an SSL object the int is that SSL_is_server returns; 0 if the code does not show it."""
    path = _only(_watch(function).returned - {_TYPE})
    return path[0] if len(path) == 1 else 0


def _only(paths: set[tuple[int, ...]]) -> tuple[int, ...]:
    if len(paths) != 1:
        return ()
    (found,) = paths
    return found if all(0 <= offset < _MAX_OFFSET for offset in found) else ()


def _watch(function: Function) -> _Seen:
    """Runs the function on symbols; what could not be followed to its end has shown nothing."""
    found = _Seen()
    todo = [(function.start, _State({Register.RDI: _Address((0,)), Register.RSI: _Out(0)}))]
    seen: set[tuple[int, frozenset[tuple[int, _Value]]]] = set()
    try:
        for _ in range(_MAX_STEPS):
            if not todo:
                return found
            address, state = todo.pop()
            key = (address, frozenset(state.registers.items()))
            if key not in seen:
                seen.add(key)
                todo.extend(_run(function, function.step(address), state, found))
    except MalformedElf:
        pass
    return _Seen()


def _run(function: Function, step: Step, state: _State, found: _Seen) -> list[tuple[int, _State]]:
    """What one instruction does to the state; gives where to go on."""
    flow = step.flow
    state = replace(state, registers=dict(state.registers))
    if flow == FlowControl.CONDITIONAL_BRANCH and step.target is not None:
        taken = _decided(step.instruction, state)
        ways = [step.target] if taken else [step.next_address] if taken is False else [step.target, step.next_address]
        return [(way, state) for way in ways if way in function]
    if flow == FlowControl.UNCONDITIONAL_BRANCH or step.is_call:
        target = step.target
        if flow == FlowControl.UNCONDITIONAL_BRANCH and target is not None and target in function:
            return [(target, state)]
        if function.callee(step) in {"memcpy", "__memcpy_chk", "memmove"} or target is not None:
            _copied(state, found)
        for register in step.writes:
            state.write(register, None)
        return [(step.next_address, state)] if step.is_call and step.next_address in function else []
    if flow == FlowControl.RETURN and isinstance(value := state.read(Register.RAX), _Loaded):
        found.returned.add(value.path)
    if flow != FlowControl.NEXT:
        return []
    return [(step.next_address, _execute(step, state, found))] if step.next_address in function else []


def _copied(state: _State, found: _Seen) -> None:
    """memcpy(out, place, n): rdi and rsi as the call finds them."""
    target, source = state.read(Register.RDI), state.read(Register.RSI)
    if isinstance(target, _Out) and isinstance(source, _Address | _Loaded):
        path = source.path if isinstance(source, _Address) else (*source.path, 0)
        found.copied.add(_moved(path, -target.offset))


def _execute(step: Step, state: _State, found: _Seen) -> _State:
    instruction = step.instruction
    mnemonic = instruction.mnemonic
    compared = _compares_type(instruction, state)
    if compared is None and not instruction.rflags_modified:
        compared = state.type_compared
    value: _Value | None = None
    if mnemonic in _LOADS and instruction.op0_kind == OpKind.REGISTER:
        if instruction.op1_kind == OpKind.MEMORY:
            place = _memory(instruction, state)
            value = _Loaded(place.path) if isinstance(place, _Address) and len(place.path) <= _MAX_DEPTH else None
        elif instruction.op1_kind == OpKind.REGISTER:
            value = state.read(instruction.op1_register)
    elif mnemonic in _LOADS and instruction.op0_kind == OpKind.MEMORY and instruction.op1_kind == OpKind.REGISTER:
        place, stored = _memory(instruction, state), state.read(instruction.op1_register)
        if isinstance(place, _Out) and isinstance(stored, _Loaded):
            found.copied.add(_moved(stored.path, -place.offset))
    elif mnemonic == Mnemonic.LEA:
        value = _memory(instruction, state)
    elif mnemonic in {Mnemonic.ADD, Mnemonic.SUB} and instruction.op0_kind == OpKind.REGISTER:
        amount = _immediate(instruction)
        before = _as_address(state.read(instruction.op0_register))
        if amount is not None and before is not None:
            value = _shifted(before, amount if mnemonic == Mnemonic.ADD else -amount)
    elif mnemonic in {Mnemonic.MOVSB, Mnemonic.MOVSD, Mnemonic.MOVSQ}:
        _copied(state, found)
    for register in step.writes:
        state.write(register, None)
    if value is not None:
        state.write(instruction.op0_register, value)
    return replace(state, type_compared=compared)


def _memory(instruction: Instruction, state: _State) -> _Address | _Out | None:
    """The address of a memory operand, if it is a known base and a fixed distance from it."""
    operand = memory(instruction)
    base = _as_address(state.read(operand[0])) if operand else None
    return _shifted(base, operand[1]) if operand and base is not None else None


def _as_address(value: _Value | None) -> _Address | _Out | None:
    """A loaded value that is used as a base is a pointer."""
    return _Address((*value.path, 0)) if isinstance(value, _Loaded) else value


def _shifted(value: _Address | _Out, amount: int) -> _Address | _Out:
    return _Out(value.offset + amount) if isinstance(value, _Out) else _Address(_moved(value.path, amount))


def _moved(path: tuple[int, ...], amount: int) -> tuple[int, ...]:
    return (*path[:-1], path[-1] + amount)


def _immediate(instruction: Instruction) -> int | None:
    if instruction.op1_kind in {OpKind.IMMEDIATE8TO64, OpKind.IMMEDIATE32TO64, OpKind.IMMEDIATE8TO32}:
        value: int = instruction.immediate(1)
        return value - 2 * (value & _SIGN)
    return None


def _compares_type(instruction: Instruction, state: _State) -> int | None:
    """What the object's type is compared with by this instruction, if it is."""
    if instruction.mnemonic == Mnemonic.CMP and instruction.op1_kind != OpKind.MEMORY:
        if _is_type(instruction, state) and instruction.op1_kind != OpKind.REGISTER:
            return int(instruction.immediate(1))
    elif instruction.mnemonic == Mnemonic.TEST and _is_type(instruction, state):
        return 0  # 0 AND anything is 0
    return None


def _is_type(instruction: Instruction, state: _State) -> bool:
    if instruction.op0_kind == OpKind.MEMORY:
        return _memory(instruction, state) == _Address(_TYPE)
    return instruction.op0_kind == OpKind.REGISTER and state.read(instruction.op0_register) == _Loaded(_TYPE)


def _decided(instruction: Instruction, state: _State) -> bool | None:
    """Whether the branch is taken for type 0; None if that does not depend on the type."""
    if state.type_compared is None or instruction.condition_code not in _EQUAL:
        return None
    return (state.type_compared == 0) == _EQUAL[instruction.condition_code]

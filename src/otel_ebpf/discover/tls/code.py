"""A function's machine code (x86-64) as a graph of instructions: which follows which, and what each one writes."""

from dataclasses import dataclass, field
from typing import Final

from iced_x86 import (
    Code,
    Decoder,
    FlowControl,
    Formatter,
    FormatterSyntax,
    Instruction,
    InstructionInfoFactory,
    OpAccess,
    OpKind,
    Register,
    RegisterExt,
)

from otel_ebpf.discover.tls.elf import Elf, MalformedElf

RAX: Final = Register.RAX
RSP: Final = Register.RSP

_MAX_INSTRUCTIONS: Final = 8192
_MAX_OUTSIDE: Final = 512  # instructions beyond the function's own: its cold part, or another function
_LONGEST_INSTRUCTION: Final = 15
_WINDOW: Final = 4096
_SIGN: Final = 1 << 63
_WRITES: Final = frozenset(
    {OpAccess.WRITE, OpAccess.COND_WRITE, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE},
)
# System V ABI for AMD64, 3.2.1: what a call may leave changed.
_CALLER_SAVED: Final = frozenset(
    {
        Register.RAX,
        Register.RCX,
        Register.RDX,
        Register.RSI,
        Register.RDI,
        Register.R8,
        Register.R9,
        Register.R10,
        Register.R11,
    }
)
_NO_RETURN: Final = frozenset(
    {"__stack_chk_fail", "__fortify_fail", "__chk_fail", "__assert_fail", "abort", "exit", "_exit", "_Unwind_Resume"}
)
_ENDS: Final = frozenset({FlowControl.RETURN, FlowControl.EXCEPTION, FlowControl.INTERRUPT})
_CALLS: Final = frozenset({FlowControl.CALL, FlowControl.INDIRECT_CALL})


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction. `writes` has the 64-bit registers of which it may change any part."""

    instruction: Instruction
    raw: bytes
    writes: frozenset[int]

    @property
    def address(self) -> int:
        return self.instruction.ip

    @property
    def next_address(self) -> int:
        return self.instruction.next_ip

    @property
    def flow(self) -> int:
        return self.instruction.flow_control

    @property
    def is_call(self) -> bool:
        return self.flow in _CALLS

    @property
    def target(self) -> int | None:
        """Where a direct branch or call goes to."""
        if self.instruction.op_count and self.instruction.op0_kind == OpKind.NEAR_BRANCH64:
            return self.instruction.near_branch_target
        return None

    @property
    def text(self) -> str:
        return _FORMATTER.format(self.instruction)


@dataclass(slots=True)
class Graph:
    """All instructions that the function can reach without a call, and their successors.

    `lost` are those behind which we can't see: an indirect jump, or code that is not there.
    """

    steps: dict[int, Step] = field(default_factory=dict)
    successors: dict[int, tuple[int, ...]] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)

    def predecessors(self) -> dict[int, list[int]]:
        """Who comes before whom."""
        found: dict[int, list[int]] = {}
        for address, following in self.successors.items():
            for each in following:
                found.setdefault(each, []).append(address)
        return found


class Function:
    """Instructions of the function at [start, start+size), and of what it jumps to."""

    def __init__(self, elf: Elf, name: str, start: int, size: int) -> None:
        self.elf = elf
        self.name = name
        self.start = start
        self.end = start + size
        self._windows: dict[int, bytes] = {}
        self._steps: dict[int, Step] = {}
        self._imports: dict[int, str] = {}
        self._graph: Graph | None = None

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end

    def step(self, address: int) -> Step:
        """The instruction at `address`; MalformedElf if there is none."""
        found = self._steps.get(address)
        if found is None:
            found = self._steps[address] = self._decode(address)
        return found

    def straight(self, limit: int = 64) -> list[Step]:
        """Instructions from the entry on, up to the first one after which another than the next may follow."""
        steps: list[Step] = []
        address = self.start
        while address in self and len(steps) < limit:
            step = self.step(address)
            steps.append(step)
            if step.flow != FlowControl.NEXT:
                break
            address = step.next_address
        return steps

    def graph(self) -> Graph:
        """Follows every branch. MalformedElf if the function is too large to."""
        if self._graph is None:
            self._graph = self._followed()
        return self._graph

    def callee(self, step: Step) -> str:
        """The name of the imported function that a call or jump goes to, "" if it is not an imported one."""
        if step.address not in self._imports:
            self._imports[step.address] = self._imported(step)
        return self._imports[step.address]

    def _followed(self) -> Graph:
        graph = Graph()
        todo = [self.start]
        outside = 0
        while todo:
            address = todo.pop()
            if address in graph.steps:
                continue
            outside += address not in self
            if len(graph.steps) >= _MAX_INSTRUCTIONS or outside > _MAX_OUTSIDE:
                raise MalformedElf(f"{self.name} is too large to follow")
            step = self.step(address)
            graph.steps[address] = step
            following = self._following(step)
            graph.successors[address] = following or ()
            if following is None:
                graph.lost.add(address)
            todo.extend(following or ())
        return graph

    def _following(self, step: Step) -> tuple[int, ...] | None:
        """None where that can't be seen."""
        flow, target = step.flow, step.target
        # What follows the function's last instruction is another function.
        behind = (step.next_address,) if step.next_address != self.end else None
        following: tuple[int, ...] | None = None
        if flow in _ENDS:
            following = ()
        elif step.is_call:
            following = () if behind is None or self.callee(step) in _NO_RETURN else behind
        elif flow == FlowControl.NEXT:
            following = behind
        elif target is not None and flow == FlowControl.CONDITIONAL_BRANCH and behind:
            following = (target, *behind)
        elif target is not None and flow == FlowControl.UNCONDITIONAL_BRANCH:
            following = (target,) if target in self or not self.callee(step) else None
        return following

    def _imported(self, step: Step) -> str:
        """Through the procedure linkage table (`call stub`, `stub: jmp [pointer]`), or `call [pointer]` at once."""
        if step.instruction.is_ip_rel_memory_operand:
            return self.elf.imported_by(step.instruction.ip_rel_memory_address)
        target = step.target
        if target is None or target in self:
            return ""
        try:
            stub = self.step(target)
            if stub.instruction.code == Code.ENDBR64:
                stub = self.step(stub.next_address)
        except MalformedElf:
            return ""
        if stub.flow == FlowControl.INDIRECT_BRANCH and stub.instruction.is_ip_rel_memory_operand:
            return self.elf.imported_by(stub.instruction.ip_rel_memory_address)
        return ""

    def _decode(self, address: int) -> Step:
        data = self._bytes(address)
        instruction = Decoder(64, data, ip=address).decode()
        if instruction.is_invalid:
            raise MalformedElf(f"{self.name}: no instruction at {address:#x}")
        writes = {
            RegisterExt.full_register(used.register)
            for used in _INFO.info(instruction).used_registers()
            if used.access in _WRITES
        }
        if instruction.flow_control in _CALLS:
            writes |= _CALLER_SAVED
        return Step(instruction, data[: instruction.len], frozenset(writes))

    def _bytes(self, address: int) -> bytes:
        base = address & -_WINDOW
        window = self._windows.get(base)
        if window is None:
            # A window may begin before its segment does; then it is read from the address on and not kept.
            try:
                window = self._windows[base] = self.elf.code(base, _WINDOW + _LONGEST_INSTRUCTION)
            except MalformedElf:
                return self.elf.code(address, _LONGEST_INSTRUCTION)
        return window[address - base : address - base + _LONGEST_INSTRUCTION]


def full_register(register: int) -> int:
    """The 64-bit register that it is a part of."""
    return int(RegisterExt.full_register(register))  # type: ignore[arg-type] # the stubs say IntEnum; they are ints


def memory(instruction: Instruction) -> tuple[int, int] | None:
    """(base register, displacement) of a memory operand that has nothing else."""
    if int(instruction.memory_index) or int(instruction.segment_prefix):
        return None
    displacement = instruction.memory_displacement
    return int(instruction.memory_base), displacement - 2 * (displacement & _SIGN)


_FORMATTER: Final = Formatter(FormatterSyntax.INTEL)
_FORMATTER.hex_prefix, _FORMATTER.hex_suffix = "0x", ""
_FORMATTER.space_after_operand_separator = True
_FORMATTER.uppercase_hex = _FORMATTER.show_branch_size = _FORMATTER.branch_leading_zeros = False
_INFO: Final = InstructionInfoFactory()

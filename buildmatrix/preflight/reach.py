"""The calls that a program surely makes from its entry on, as long as nothing unknown decides.

A tracer follows the start-up code and main with argc known and everything else unknown. It stops at
the first branch that hangs on something it does not know, and at the first instruction that it does
not model; a call into a library is taken to return something unknown. It never executes anything and
proves one thing only: that a certain external function is called.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass, field

from buildmatrix.preflight.dynobj import DynamicObject
from buildmatrix.preflight.elfimage import EM_AARCH64, EM_X86_64
from buildmatrix.preflight.memory import Fault

MAX_STEPS = 4000
RELATIVE = {EM_X86_64: 8, EM_AARCH64: 1027}
STACK = 0x7FF0_0000_0000
LINK = 0x7FE0_0000_0000
"""A return address that is no code: returning there ends the trace."""

NEVER_RETURN = frozenset({"exit", "_exit", "_Exit", "abort", "__assert_fail", "__stack_chk_fail", "execve", "execv",
                          "execvp", "longjmp", "_longjmp", "__longjmp_chk", "err", "errx", "quick_exit"})  # fmt: skip
MASK = (1 << 64) - 1


class Unknown(Exception):
    """The trace hangs on something that is not known here."""


@dataclass(slots=True)
class State:
    """Registers, memory that was written, and the operands of the last comparison; None is unknown."""

    pc: int
    registers: list[int | None]
    written: dict[int, int | None] = field(default_factory=dict)
    compared: tuple[int, int, int] | None = None


class Tracer(abc.ABC):
    """What both machines share: code bytes, the names behind GOT slots, calls into libraries."""

    argument_registers: tuple[int, ...] = ()
    scratch: tuple[int, ...] = ()
    result = 0

    def __init__(self, program: DynamicObject, argc: int) -> None:
        self.program = program
        self.argc = argc
        self.slots: dict[int, str] = {}
        self.pointers: dict[int, int] = {}
        for reloc in (*program.plt(), *program.eager()):
            if reloc.type == RELATIVE.get(program.header.machine):
                self.pointers[(reloc.offset + program.bias) & MASK] = (reloc.addend + program.bias) & MASK
            elif reloc.symbol:
                name = program.string(program.symbol(reloc.symbol).name).decode(errors="replace")
                self.slots[(reloc.offset + program.bias) & MASK] = name

    def calls(self, state: State) -> Iterator[str]:
        """The names of external functions in the order of their calls, until the trace ends."""
        for _ in range(MAX_STEPS):
            try:
                name = self.step(state)
            except (Unknown, Fault, ValueError):
                return
            if name is None:
                continue
            yield name
            if name in NEVER_RETURN or not self.returned(state, name):
                return

    @abc.abstractmethod
    def step(self, state: State) -> str | None:
        """One instruction; the name of an external function that it transfers to, or None."""

    @abc.abstractmethod
    def leave(self, state: State) -> None:
        """Return from the external function just entered."""

    def returned(self, state: State, name: str) -> bool:
        """Go on behind a call into a library; False where there is nothing to go on with."""
        if name in ("__libc_start_main", "__libc_start_call_main"):
            main = state.registers[self.argument_registers[0]]
            if main is None:
                return False
            self.leave(state)
            state.registers[self.argument_registers[0]] = self.argc
            state.registers[self.argument_registers[1]] = None
            self.enter(state, main)
            return True
        self.leave(state)
        for number in self.scratch:
            state.registers[number] = None
        state.compared = None
        return True

    @abc.abstractmethod
    def enter(self, state: State, address: int) -> None:
        """Begin a function whose return ends the trace."""

    def code(self, address: int, length: int) -> bytes:
        """Bytes at an address of executable memory."""
        area = self.program.space.find(address)
        if area is None or not area.prot & 4:
            raise Unknown
        return self.program.space.fetch(address, length)

    def load(self, state: State, address: int | None) -> tuple[int | None, str]:
        """A word of memory: its value where this trace wrote it, the name where it is a GOT slot."""
        if address is None:
            return None, ""
        if address in state.written:
            return state.written[address], ""
        return self.pointers.get(address), self.slots.get(address, "")


def known(value: int | None) -> int:
    """The value; Unknown where there is none."""
    if value is None:
        raise Unknown
    return value


def signed(value: int, bits: int) -> int:
    """Two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def surely_called(program: DynamicObject, argc: int, names: set[str]) -> str | None:
    """The first of `names` that the program surely calls, or None."""
    from buildmatrix.preflight.reach_a64 import A64
    from buildmatrix.preflight.reach_x86 import X86

    machine = program.header.machine
    if program.layout.bits != 64 or machine not in (EM_X86_64, EM_AARCH64):
        return None
    tracer = X86(program, argc) if machine == EM_X86_64 else A64(program, argc)
    entry = (program.header.entry + program.bias) & MASK
    state = State(entry, [None] * 32)
    state.registers[4 if machine == EM_X86_64 else 31] = STACK
    state.written[STACK] = argc
    return next((name for name in tracer.calls(state) if name in names), None)

"""The x86-64 instructions that start-up code and simple functions are made of (Intel SDM, volume 2)."""

from __future__ import annotations

from dataclasses import dataclass

from buildmatrix.preflight.reach import LINK, MASK, State, Tracer, Unknown, known, signed

RSP = 4


@dataclass(frozen=True, slots=True)
class Operand:
    """A ModRM operand: a register's number, or an address (None: unknown)."""

    register: int | None
    address: int | None


class X86(Tracer):
    """Decodes one instruction at a time; what it does not model ends the trace."""

    argument_registers = (7, 6)
    scratch = (0, 1, 2, 6, 7, 8, 9, 10, 11)

    def enter(self, state: State, address: int) -> None:
        """Begin a function whose return ends the trace."""
        self._push(state, LINK)
        state.pc = address

    def leave(self, state: State) -> None:
        """Return to the address on the stack."""
        state.pc = self._pop(state)

    def _push(self, state: State, value: int | None) -> None:
        top = (known(state.registers[RSP]) - 8) & MASK
        state.registers[RSP] = top
        state.written[top] = value

    def _pop(self, state: State) -> int:
        value = known(self._pop_any(state))
        if value == LINK:
            raise Unknown
        return value

    def _pop_any(self, state: State) -> int | None:
        top = known(state.registers[RSP])
        state.registers[RSP] = (top + 8) & MASK
        return state.written.get(top)

    def step(self, state: State) -> str | None:
        """One instruction."""
        reader = _Reader(self.code(state.pc, min(15, self._left(state.pc))), state)
        return _Instruction(self, state, reader).run()

    def _left(self, address: int) -> int:
        area = self.program.space.find(address)
        return 0 if area is None else area.end - address


class _Reader:
    """The bytes of one instruction."""

    def __init__(self, data: bytes, state: State) -> None:
        self.data = data
        self.at = 0
        self.start = state.pc

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise Unknown
        self.at += 1
        return self.data[self.at - 1]

    def immediate(self, size: int) -> int:
        piece = self.data[self.at : self.at + size]
        if len(piece) < size:
            raise Unknown
        self.at += size
        return int.from_bytes(piece, "little", signed=True)

    @property
    def end(self) -> int:
        return self.start + self.at


class _Instruction:
    def __init__(self, tracer: X86, state: State, reader: _Reader) -> None:
        self.tracer = tracer
        self.state = state
        self.reader = reader
        self.rex = 0
        self.small = False

    @property
    def bits(self) -> int:
        return 64 if self.rex & 8 else 16 if self.small else 32

    def run(self) -> str | None:
        opcode = self._prefixes()
        name = self._flow(opcode)
        if name is not None:
            return name or None
        self._data(opcode)
        self.state.pc = self.reader.end
        return None

    def _prefixes(self) -> int:
        opcode = self.reader.byte()
        while opcode in (0x66, 0xF2, 0xF3, 0x2E, 0x3E, 0x64, 0x65):
            self.small = self.small or opcode == 0x66
            opcode = self.reader.byte()
        if opcode & 0xF0 == 0x40:
            self.rex = opcode
            opcode = self.reader.byte()
        return opcode

    def _flow(self, opcode: int) -> str | None:
        """Control flow: "" where it stayed inside, a name where it left, None where it is something else."""
        state, reader = self.state, self.reader
        if opcode in (0xE8, 0xE9, 0xEB):
            offset = reader.immediate(1 if opcode == 0xEB else 4)
            if opcode == 0xE8:
                self.tracer._push(state, reader.end)
            state.pc = (reader.end + offset) & MASK
            return ""
        if opcode == 0xC3:
            state.pc = self.tracer._pop(state)
            return ""
        if opcode & 0xF0 == 0x70:
            return self._jump_if(opcode & 15, reader.immediate(1))
        if opcode == 0x0F and self.reader.data[reader.at] & 0xF0 == 0x80:
            condition = reader.byte() & 15
            return self._jump_if(condition, reader.immediate(4))
        if opcode == 0xFF and reader.data[reader.at] >> 3 & 7 in (2, 4):
            return self._indirect()
        if opcode in (0xF4, 0xCC):
            raise Unknown
        return None

    def _jump_if(self, condition: int, offset: int) -> str:
        taken = self._holds(condition)
        self.state.pc = (self.reader.end + (offset if taken else 0)) & MASK
        return ""

    def _holds(self, condition: int) -> bool:
        if self.state.compared is None:
            raise Unknown
        left, right, bits = self.state.compared
        less, below = signed(left, bits) < signed(right, bits), left < right
        negative = signed(left - right, bits) < 0
        tests = {
            2: below,
            4: left == right,
            6: below or left == right,
            8: negative,
            12: less,
            14: less or left == right,
        }
        if condition & 14 not in tests:
            raise Unknown
        return tests[condition & 14] != bool(condition & 1)

    def _indirect(self) -> str:
        kind = self.reader.data[self.reader.at] >> 3 & 7
        operand, _ = self._modrm(0)
        state = self.state
        if kind == 2:
            self.tracer._push(state, self.reader.end)
        if operand.register is not None:
            target, name = state.registers[operand.register], ""
        else:
            target, name = self.tracer.load(state, operand.address)
        if name:
            if kind == 4 and known(state.registers[RSP]) not in state.written:
                raise Unknown
            return name
        state.pc = known(target)
        return ""

    def _modrm(self, immediate: int) -> tuple[Operand, int]:
        """The r/m operand and the reg field. `immediate` bytes still follow (they count for RIP)."""
        modrm = self.reader.byte()
        mode, reg, low = modrm >> 6, modrm >> 3 & 7 | (self.rex & 4) << 1, modrm & 7
        if mode == 3:
            return Operand(low | (self.rex & 1) << 3, None), reg
        if mode == 0 and low == 5:
            offset = self.reader.immediate(4)
            return Operand(None, (self.reader.end + immediate + offset) & MASK), reg
        base: int | None
        base = self._sib(mode) if low == 4 else self.state.registers[low | (self.rex & 1) << 3]
        offset = self.reader.immediate((0, 1, 4)[mode]) if mode else 0
        return Operand(None, None if base is None else (base + offset) & MASK), reg

    def _sib(self, mode: int) -> int | None:
        sib = self.reader.byte()
        index, base = sib >> 3 & 7 | (self.rex & 2) << 2, sib & 7
        if base == 5 and not mode:
            start: int | None = self.reader.immediate(4)
        else:
            start = self.state.registers[base | (self.rex & 1) << 3]
        if index == 4:
            return start
        scaled = self.state.registers[index]
        return None if start is None or scaled is None else start + (scaled << (sib >> 6))

    def _get(self, operand: Operand) -> int | None:
        if operand.register is not None:
            return self.state.registers[operand.register]
        return self.tracer.load(self.state, operand.address)[0]

    def _set(self, operand: Operand, value: int | None) -> None:
        if value is not None:
            value &= MASK if self.bits == 64 else 0xFFFFFFFF
        if operand.register is not None:
            self.state.registers[operand.register] = None if self.small else value
        elif operand.address is not None:
            self.state.written[operand.address] = value

    def _data(self, opcode: int) -> None:
        reader = self.reader
        if 0x50 <= opcode <= 0x5F:
            self._stack(opcode)
        elif opcode in (0x68, 0x6A):
            self.tracer._push(self.state, reader.immediate(4 if opcode == 0x68 else 1) & MASK)
        elif 0xB8 <= opcode <= 0xBF:
            wide = 8 if self.rex & 8 else 2 if self.small else 4
            self._set(Operand(opcode & 7 | (self.rex & 1) << 3, None), reader.immediate(wide))
        elif opcode == 0x90:
            return
        elif opcode == 0x98:
            self.state.registers[0] = None
        elif opcode == 0xC9:
            self.state.registers[RSP] = known(self.state.registers[5])
            self.state.registers[5] = self.tracer._pop_any(self.state)
        elif opcode == 0x0F:
            self._two_bytes()
        else:
            self._modrm_data(opcode)

    def _stack(self, opcode: int) -> None:
        number = opcode & 7 | (self.rex & 1) << 3
        if opcode < 0x58:
            self.tracer._push(self.state, self.state.registers[number])
        else:
            self.state.registers[number] = self.tracer._pop_any(self.state)

    def _two_bytes(self) -> None:
        """Hints, moves with extension, conditional moves and sets: results are unknown."""
        opcode = self.reader.byte()
        if opcode in (0x1E, 0x1F, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D):
            self._modrm(0)
        elif opcode in (0xB6, 0xB7, 0xBE, 0xBF, 0xAF) or opcode & 0xF0 == 0x40:
            _, reg = self._modrm(0)
            self.state.registers[reg] = None
            self.state.compared = self.state.compared if opcode != 0xAF else None
        elif opcode & 0xF0 == 0x90:
            operand, _ = self._modrm(0)
            self._forget(operand)
        else:
            raise Unknown

    def _forget(self, operand: Operand) -> None:
        if operand.register is not None:
            self.state.registers[operand.register] = None
        elif operand.address is not None:
            self.state.written[operand.address] = None
        else:
            raise Unknown

    def _modrm_data(self, opcode: int) -> None:
        if opcode in (0x89, 0x8B, 0x8D, 0x63):
            self._move(opcode)
        elif opcode in (0xC7, 0x81, 0x83):
            self._immediate(opcode)
        elif opcode in (0x01, 0x03, 0x09, 0x0B, 0x21, 0x23, 0x29, 0x2B, 0x31, 0x33, 0x39, 0x3B, 0x85):
            self._arithmetic(opcode)
        elif opcode in (0x88, 0xC6):
            operand, _ = self._modrm(1 if opcode == 0xC6 else 0)
            if opcode == 0xC6:
                self.reader.immediate(1)
            self._forget(operand)
        else:
            raise Unknown

    def _move(self, opcode: int) -> None:
        operand, reg = self._modrm(0)
        if opcode == 0x89:
            self._set(operand, self.state.registers[reg])
        elif opcode == 0x8D:
            self._set(Operand(reg, None), operand.address)
        elif opcode == 0x8B:
            self._set(Operand(reg, None), self._get(operand))
        else:
            self.state.registers[reg] = None

    def _immediate(self, opcode: int) -> None:
        size = 1 if opcode == 0x83 else 2 if self.small else 4
        operand, kind = self._modrm(size)
        value = self.reader.immediate(size)
        if opcode == 0xC7:
            self._set(operand, value)
            return
        self._operate((1, 9, -1, -1, 0x21, 0x29, 0x31, 0x39)[kind & 7], operand, self._get(operand), value)

    def _arithmetic(self, opcode: int) -> None:
        operand, reg = self._modrm(0)
        register = Operand(reg, None)
        if opcode == 0x31 and operand == register:
            self._set(register, 0)
            self.state.compared = (0, 0, self.bits)
        elif opcode == 0x85:
            left, right = self._get(operand), self._get(register)
            same = left is not None and right is not None
            self.state.compared = (known(left) & known(right) & self._mask, 0, self.bits) if same else None
        elif opcode & 2:
            self._operate(opcode & ~2, register, self._get(register), self._get(operand))
        else:
            self._operate(opcode, operand, self._get(operand), self._get(register))

    @property
    def _mask(self) -> int:
        return (1 << self.bits) - 1

    def _operate(self, kind: int, target: Operand, left: int | None, right: int | None) -> None:
        """ADD, OR, AND, SUB, XOR, CMP by their opcodes in the register form."""
        self.state.compared = None
        if left is None or right is None:
            if kind != 0x39:
                self._forget(target)
            return
        left, right = left & self._mask, right & self._mask
        results = {1: left + right, 9: left | right, 0x21: left & right, 0x29: left - right, 0x31: left ^ right}
        if kind in (0x29, 0x39):
            self.state.compared = (left, right, self.bits)
        elif kind in results:
            self.state.compared = (results[kind] & self._mask, 0, self.bits)
        if kind != 0x39:
            if kind not in results:
                raise Unknown
            self._set(target, results[kind])

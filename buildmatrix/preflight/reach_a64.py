"""The AArch64 instructions that start-up code and simple functions are made of (Arm ARM, C4 and C6)."""

from __future__ import annotations

from buildmatrix.preflight.reach import LINK, MASK, State, Tracer, Unknown, known, signed

SP = 31


class A64(Tracer):
    """Register 31 is the stack pointer where an instruction addresses with it, else zero."""

    argument_registers = (0, 1)
    scratch = tuple(range(19))

    def enter(self, state: State, address: int) -> None:
        """Begin a function whose return ends the trace."""
        state.registers[30] = LINK
        state.pc = address

    def leave(self, state: State) -> None:
        """Return through the link register."""
        state.pc = known(state.registers[30])

    def step(self, state: State) -> str | None:
        """One instruction."""
        word = int.from_bytes(self.code(state.pc, 4), "little")
        here = state.pc
        state.pc = here + 4
        if word & 0x7C000000 == 0x14000000:
            self._branch(state, word, here)
            return None
        if word & 0xFF000010 == 0x54000000:
            self._conditional(state, word, here)
            return None
        if word & 0x7E000000 == 0x34000000:
            self._compare_zero(state, word, here)
            return None
        if word & 0xFFFFFC1F in (0xD61F0000, 0xD63F0000, 0xD65F0000):
            return self._register_branch(state, word, here)
        self._plain(state, word, here)
        return None

    def _branch(self, state: State, word: int, here: int) -> None:
        if word >> 31:
            state.registers[30] = here + 4
        state.pc = (here + signed(word & 0x3FFFFFF, 26) * 4) & MASK

    def _conditional(self, state: State, word: int, here: int) -> None:
        if self._holds(state, word & 15):
            state.pc = (here + signed(word >> 5 & 0x7FFFF, 19) * 4) & MASK

    def _compare_zero(self, state: State, word: int, here: int) -> None:
        value = known(self._read(state, word & 31))
        if not word >> 31:
            value &= 0xFFFFFFFF
        if (value != 0) == bool(word >> 24 & 1):
            state.pc = (here + signed(word >> 5 & 0x7FFFF, 19) * 4) & MASK

    def _register_branch(self, state: State, word: int, here: int) -> str | None:
        number = word >> 5 & 31
        name = state.written.get(-1 - number)
        if word & 0xFFFFFC1F == 0xD63F0000:
            state.registers[30] = here + 4
        if isinstance(name, int) and name in self.slots:
            return self.slots[name]
        target = known(state.registers[number])
        if target == LINK:
            raise Unknown
        state.pc = target
        return None

    def _holds(self, state: State, condition: int) -> bool:
        if state.compared is None:
            raise Unknown
        left, right, bits = state.compared
        less, below = signed(left, bits) < signed(right, bits), left < right
        tests = {
            0: left == right,
            2: not below,
            8: left > right,
            10: not less,
            12: not less and left != right,
            14: True,
        }
        if condition & 14 not in tests:
            raise Unknown
        return tests[condition & 14] != bool(condition & 1 and condition != 15)

    def _read(self, state: State, number: int) -> int | None:
        return 0 if number == 31 else state.registers[number]

    def _write(self, state: State, number: int, value: int | None, slot: int | None = None) -> None:
        """Set a register; `slot` remembers that it holds what a GOT slot holds."""
        state.registers[number] = None if value is None else value & MASK
        state.written.pop(-1 - number, None)
        if slot is not None:
            state.written[-1 - number] = slot

    def _plain(self, state: State, word: int, here: int) -> None:
        if word & 0xFFFFF01F == 0xD503201F:  # hints: nop, bti, paciasp
            return
        if word & 0x1F000000 == 0x10000000:
            self._address(state, word, here)
        elif word & 0x1F000000 == 0x11000000:
            self._add_immediate(state, word)
        elif word & 0x1F800000 == 0x12800000:
            self._move_wide(state, word)
        elif word & 0x7FE0FFE0 == 0x2A0003E0:
            value = self._read(state, word >> 16 & 31)
            narrow = None if value is None else value & 0xFFFFFFFF
            self._write(state, word & 31, value if word >> 31 else narrow)
        elif word & 0x3B000000 == 0x39000000 or word & 0x3B200000 == 0x38000000:
            self._single(state, word)
        elif word & 0x3A000000 == 0x28000000:
            self._pair(state, word)
        elif word & 0x7F200000 == 0x6B000000 and word & 31 == 31:
            self._compare_registers(state, word)
        else:
            self._other(state, word)

    def _other(self, state: State, word: int) -> None:
        """Data processing that is not modelled: its result is unknown."""
        if word & 0x1C000000 == 0x10000000 or word & 0x0E000000 == 0x0A000000:
            if word & 31 != 31:
                self._write(state, word & 31, None)
            state.compared = None
            return
        raise Unknown

    def _address(self, state: State, word: int, here: int) -> None:
        offset = signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)
        base = (here & -4096) + (offset << 12) if word >> 31 else here + offset
        self._write(state, word & 31, base & MASK)

    def _add_immediate(self, state: State, word: int) -> None:
        immediate = word >> 10 & 0xFFF
        if word >> 22 & 1:
            immediate <<= 12
        left = state.registers[word >> 5 & 31]
        subtract, sets = word >> 30 & 1, word >> 29 & 1
        bits = 64 if word >> 31 else 32
        mask = (1 << bits) - 1
        if sets:
            state.compared = None
            if subtract and word >> 5 & 31 != 31 and left is not None:
                state.compared = (left & mask, immediate, bits)
            if word & 31 == 31:
                return
        value = None if left is None else (left - immediate if subtract else left + immediate) & mask
        self._write(state, word & 31, value)

    def _move_wide(self, state: State, word: int) -> None:
        kind, shift = word >> 29 & 3, (word >> 21 & 3) * 16
        immediate = (word >> 5 & 0xFFFF) << shift
        mask = MASK if word >> 31 else 0xFFFFFFFF
        number = word & 31
        if kind == 3:
            old = state.registers[number]
            value = None if old is None else old & ~(0xFFFF << shift) | immediate
        else:
            value = immediate if kind == 2 else ~immediate
        self._write(state, number, None if value is None else value & mask)

    def _compare_registers(self, state: State, word: int) -> None:
        bits = 64 if word >> 31 else 32
        mask = (1 << bits) - 1
        left, right = self._read(state, word >> 5 & 31), self._read(state, word >> 16 & 31)
        state.compared = None
        if left is not None and right is not None and not word >> 10 & 0x3F:
            state.compared = (left & mask, right & mask, bits)

    def _single(self, state: State, word: int) -> None:
        """LDR and STR of one register: scaled offset, or pre- and post-indexed."""
        size, vector, opcode = word >> 30, word >> 26 & 1, word >> 22 & 3
        base = word >> 5 & 31
        address = state.registers[base]
        if word >> 24 & 1:
            offset, mode = (word >> 10 & 0xFFF) << size, 0
        else:
            offset, mode = signed(word >> 12 & 0x1FF, 9), word >> 10 & 3
        at = None if address is None else (address if mode == 1 else address + offset) & MASK
        if mode in (1, 3) and address is not None:
            state.registers[base] = (address + offset) & MASK
        if vector:
            return
        if opcode == 0:
            self._store(state, at, self._read(state, word & 31))
            return
        self._fetch(state, word & 31, at, whole=size >= 2)

    def _pair(self, state: State, word: int) -> None:
        wide, load, mode = word >> 31, word >> 22 & 1, word >> 23 & 3
        step = 8 if wide else 4
        offset = signed(word >> 15 & 0x7F, 7) * step
        base = word >> 5 & 31
        address = state.registers[base]
        at = None if address is None else (address if mode == 1 else address + offset) & MASK
        if mode in (1, 3) and address is not None:
            state.registers[base] = (address + offset) & MASK
        if word >> 26 & 1:
            return
        for place, number in ((0, word & 31), (step, word >> 10 & 31)):
            where = None if at is None else at + place
            if load:
                self._fetch(state, number, where, whole=True)
            else:
                self._store(state, where, self._read(state, number))

    def _store(self, state: State, address: int | None, value: int | None) -> None:
        if address is not None:
            state.written[address] = value

    def _fetch(self, state: State, number: int, address: int | None, *, whole: bool) -> None:
        value, name = self.load(state, address)
        if number != 31:
            self._write(state, number, value if whole else None, address if name else None)

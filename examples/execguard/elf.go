package execguard

import (
	"encoding/binary"
	"errors"
	"io"
)

// What the ELF specification (System V gABI, chapters 4 and 5) calls by these names.
const (
	typeExec = 2
	typeDyn  = 3

	segmentLoad   = 1
	segmentInterp = 3

	emX86    = 3
	emMIPS   = 8
	emPPC    = 20
	emPPC64  = 21
	emS390   = 22
	emARM    = 40
	emX86_64 = 62
	emARM64  = 183
	emRISCV  = 243
	emLoong  = 258
)

const (
	// maxHeaderTable is the kernel's cap on the table of program headers, in bytes (load_elf_phdrs).
	maxHeaderTable = 65536
	// maxInterpreter is PATH_MAX, the kernel's cap on the name of the loader.
	maxInterpreter = 4096
)

var machineNames = map[uint16]string{
	2: "SPARC", emX86: "80386", 4: "m68k", emMIPS: "MIPS", 15: "PA-RISC", emPPC: "PowerPC", emPPC64: "PowerPC64",
	emS390: "S/390", emARM: "ARM", 42: "SuperH", 43: "SPARC V9", 50: "IA-64", emX86_64: "x86-64", emARM64: "AArch64",
	emRISCV: "RISC-V", 247: "BPF", emLoong: "LoongArch", 0x9026: "Alpha",
}

// The ways in which a program's headers can be wrong.
var (
	errNotLinked   = errors.New("neither ET_EXEC nor ET_DYN")
	errHeaderTable = errors.New("the size or the number of the program headers is wrong")
	errTableEnd    = errors.New("the program headers lie beyond the end of the file")
	errInterpEnd   = errors.New("the name of the loader lies beyond the end of the file")
	errInterpWhere = errors.New("the name of the loader lies at a negative offset")
	errInterpName  = errors.New("the name of the loader has a wrong length or no end")
	errLoadEnd     = errors.New("a segment lies beyond the end of the file")
)

// layout is how a kernel reads a header: its own byte order and a word size, whatever the file's
// identification bytes say.
type layout struct {
	order binary.ByteOrder
	bits  int
}

// program is what the kernel takes from the headers before it maps anything.
type program struct {
	dynamic     bool   // there is a PT_INTERP
	interpreter string // its content up to the first NUL
	cut         bool   // a LOAD segment ends past the file: it starts and then dies
}

// isELF reports the magic bytes.
func isELF(head []byte) bool { return len(head) >= 4 && string(head[:4]) == "\x7fELF" }

// machineOf reads e_machine in the given order; both layouts have it at the same place.
func machineOf(head []byte, order binary.ByteOrder) uint16 {
	if len(head) < 20 {
		return 0
	}
	return order.Uint16(head[18:])
}

// fileOrder is the byte order that the file declares in EI_DATA.
func fileOrder(head []byte) binary.ByteOrder {
	if len(head) > 5 && head[5] == 2 {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// machineName names a machine as people write it, with what distinguishes it.
func machineName(head []byte) string {
	order := fileOrder(head)
	number := machineOf(head, order)
	name, known := machineNames[number]
	if !known {
		return "machine number " + decimal(uint64(number))
	}
	if number == emPPC64 && order == binary.LittleEndian {
		return name + " little-endian"
	}
	if (number == emMIPS || number == emARM64 || number == emARM) && (order == binary.BigEndian) != (number == emMIPS) {
		if order == binary.BigEndian {
			return name + " big-endian"
		}
		return name + " little-endian"
	}
	if number == emX86_64 && len(head) > 4 && head[4] == 1 {
		return "x32"
	}
	if number == emRISCV && len(head) > 4 && head[4] == 1 {
		return "RISC-V 32-bit"
	}
	return name
}

// readProgram reads the headers of an ELF program as load_elf_binary does. head is the start of the
// file padded with zeros to at least 64 bytes, size the file's length in bytes.
func readProgram(r io.ReaderAt, head []byte, size int64, as layout) (program, error) {
	kind := as.order.Uint16(head[16:])
	if kind != typeExec && kind != typeDyn {
		return program{}, errNotLinked
	}
	table, err := readTable(r, head, size, as)
	if err != nil {
		return program{}, err
	}
	return walkTable(r, table, size, as)
}

// readTable returns the bytes of the program headers, at most 64 KiB.
func readTable(r io.ReaderAt, head []byte, size int64, as layout) ([]byte, error) {
	offset, entry, count := uint64(as.order.Uint32(head[28:])), as.order.Uint16(head[42:]), as.order.Uint16(head[44:])
	if as.bits == 64 {
		offset, entry, count = as.order.Uint64(head[32:]), as.order.Uint16(head[54:]), as.order.Uint16(head[56:])
	}
	length := int64(count) * int64(as.headerSize())
	if int(entry) != as.headerSize() || count == 0 || length > maxHeaderTable {
		return nil, errHeaderTable
	}
	if !within(offset, uint64(length), size) {
		return nil, errTableEnd
	}
	table := make([]byte, length)
	if _, err := io.ReadFull(io.NewSectionReader(r, int64(offset), length), table); err != nil {
		return nil, errTableEnd
	}
	return table, nil
}

// walkTable looks at the first PT_INTERP and at the extent of every PT_LOAD.
func walkTable(r io.ReaderAt, table []byte, size int64, as layout) (program, error) {
	var found program
	for ; len(table) > 0; table = table[as.headerSize():] {
		kind, offset, length := as.segment(table)
		switch {
		case kind == segmentLoad && length > 0 && !within(offset, length, size):
			found.cut = true
		case kind == segmentInterp && !found.dynamic:
			found.dynamic = true
			name, err := readInterpreter(r, offset, length, size)
			if err != nil {
				return found, err
			}
			found.interpreter = name
		}
	}
	return found, nil
}

func readInterpreter(r io.ReaderAt, offset, length uint64, size int64) (string, error) {
	if length < 2 || length > maxInterpreter {
		return "", errInterpName
	}
	if offset > 1<<63-1 {
		return "", errInterpWhere
	}
	if !within(offset, length, size) {
		return "", errInterpEnd
	}
	name := make([]byte, length)
	if _, err := io.ReadFull(io.NewSectionReader(r, int64(offset), int64(length)), name); err != nil {
		return "", errInterpEnd
	}
	if name[length-1] != 0 {
		return "", errInterpName
	}
	return cString(name), nil
}

func (l layout) headerSize() int {
	if l.bits == 64 {
		return 56
	}
	return 32
}

// segment returns p_type, p_offset and p_filesz of the first header in table.
func (l layout) segment(table []byte) (kind uint32, offset, length uint64) {
	kind = l.order.Uint32(table)
	if l.bits == 64 {
		return kind, l.order.Uint64(table[8:]), l.order.Uint64(table[32:])
	}
	return kind, uint64(l.order.Uint32(table[4:])), uint64(l.order.Uint32(table[16:]))
}

// within reports whether length bytes from offset lie inside size bytes, without overflow.
func within(offset, length uint64, size int64) bool {
	return size >= 0 && length <= uint64(size) && offset <= uint64(size)-length
}

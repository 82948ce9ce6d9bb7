package execguard

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// order is a byte order that reads and appends.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// image describes a small ELF file to be written by a test.
type image struct {
	order   order
	bits    int
	class   byte // EI_CLASS; 0 means the one that belongs to bits
	kind    uint16
	machine uint16
	// headers are the program headers; their offsets count from the start of the file.
	headers []header
	// entrySize and count override e_phentsize and e_phnum; -1 keeps the true value.
	entrySize, count int
	tableOffset      uint64 // overrides e_phoff unless 0
	tail             []byte // follows the program headers
}

type header struct {
	kind           uint32
	offset, length uint64
}

// tailOffset is where the tail of an image with n headers begins.
func tailOffset(bits, n int) uint64 {
	if bits == 64 {
		return uint64(64 + 56*n)
	}
	return uint64(52 + 32*n)
}

func (m image) bytes() []byte {
	class := m.class
	if class == 0 {
		class = byte(m.bits / 32)
	}
	data := byte(1)
	if m.order == order(binary.BigEndian) {
		data = 2
	}
	out := append([]byte{0x7f, 'E', 'L', 'F', class, data, 1}, make([]byte, 9)...)
	out = m.order.AppendUint16(out, m.kind)
	out = m.order.AppendUint16(out, m.machine)
	out = m.order.AppendUint32(out, 1)
	headerSize, entry := tailOffset(m.bits, 0), layout{bits: m.bits}.headerSize()
	table := headerSize
	if m.tableOffset != 0 {
		table = m.tableOffset
	}
	for _, word := range []uint64{0, table, 0} { // e_entry, e_phoff, e_shoff
		out = m.word(out, word)
	}
	out = m.order.AppendUint32(out, 0)
	count := len(m.headers)
	if m.entrySize >= 0 {
		entry = m.entrySize
	}
	if m.count >= 0 {
		count = m.count
	}
	for _, half := range []int{int(headerSize), entry, count, 0, 0, 0} {
		out = m.order.AppendUint16(out, uint16(half))
	}
	for _, h := range m.headers {
		out = m.header(out, h)
	}
	return append(out, m.tail...)
}

func (m image) word(out []byte, value uint64) []byte {
	if m.bits == 64 {
		return m.order.AppendUint64(out, value)
	}
	return m.order.AppendUint32(out, uint32(value))
}

func (m image) header(out []byte, h header) []byte {
	out = m.order.AppendUint32(out, h.kind)
	if m.bits == 64 {
		out = m.order.AppendUint32(out, 5)
		for _, word := range []uint64{h.offset, 0x400000, 0, h.length, h.length, 0x10000} {
			out = m.order.AppendUint64(out, word)
		}
		return out
	}
	for _, word := range []uint64{h.offset, 0x400000, 0, h.length, h.length, 5, 0x10000} {
		out = m.order.AppendUint32(out, uint32(word))
	}
	return out
}

// elfImage is a plausible program without PT_INTERP for the given machine.
func elfImage(bits int, in order, machine uint16) image {
	return image{
		order: in, bits: bits, kind: typeExec, machine: machine, entrySize: -1, count: -1,
		headers: []header{{kind: segmentLoad, offset: 0, length: tailOffset(bits, 1)}},
		tail:    make([]byte, 64),
	}
}

// withInterpreter adds a PT_INTERP that holds name, which should end in NUL.
func (m image) withInterpreter(name string) image {
	m.headers = append([]header{}, header{kind: segmentInterp, offset: tailOffset(m.bits, 1), length: uint64(len(name))})
	m.tail = append([]byte(name), make([]byte, 64)...)
	return m
}

// put writes a file with the given mode into a directory and returns its path.
func put(t *testing.T, dir, name string, content []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

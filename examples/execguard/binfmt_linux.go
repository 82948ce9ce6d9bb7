package execguard

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const binfmtDirectory = "/proc/sys/fs/binfmt_misc"

// format is one enabled entry of binfmt_misc (Documentation/admin-guide/binfmt-misc.rst).
type format struct {
	interpreter string
	fixed       bool // flag F: the interpreter was opened at registration
	extension   string
	offset      int
	magic, mask []byte
}

// registeredFormats reads the entries; none where binfmt_misc is absent, not mounted or disabled.
func registeredFormats(directory string) []format {
	status, err := os.ReadFile(filepath.Join(directory, "status"))
	if err != nil || strings.TrimSpace(string(status)) != "enabled" {
		return nil
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil
	}
	var formats []format
	for _, entry := range entries {
		if entry.Name() == "register" || entry.Name() == "status" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(directory, entry.Name()))
		if parsed, ok := parseFormat(string(text)); err == nil && ok {
			formats = append(formats, parsed)
		}
	}
	return formats
}

// parseFormat reads what the kernel prints for an entry; ok is false for a disabled one.
func parseFormat(text string) (parsed format, ok bool) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if lines[0] != "enabled" {
		return format{}, false
	}
	for _, line := range lines[1:] {
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "interpreter":
			parsed.interpreter = value
		case "flags:":
			parsed.fixed = strings.Contains(value, "F")
		case "extension":
			parsed.extension = strings.TrimPrefix(value, ".")
		case "offset":
			parsed.offset, _ = strconv.Atoi(value)
		case "magic":
			parsed.magic, _ = hex.DecodeString(value)
		case "mask":
			parsed.mask, _ = hex.DecodeString(value)
		}
	}
	return parsed, parsed.interpreter != ""
}

// matchFormat is search_binfmt_handler: head is 256 bytes, name the last component of the path.
func matchFormat(formats []format, head []byte, name string) (format, bool) {
	dot := strings.LastIndexByte(name, '.')
	for _, entry := range formats {
		switch {
		case entry.extension != "":
			if dot >= 0 && name[dot+1:] == entry.extension {
				return entry, true
			}
		case entry.matches(head):
			return entry, true
		}
	}
	return format{}, false
}

func (f format) matches(head []byte) bool {
	if len(f.magic) == 0 || f.offset < 0 || f.offset > len(head)-len(f.magic) {
		return false
	}
	part := bytes.Clone(head[f.offset : f.offset+len(f.magic)])
	for i := range min(len(part), len(f.mask)) {
		part[i] &= f.mask[i]
	}
	return bytes.Equal(part, f.magic)
}

// emulator judges the handler of a format as the program that is really started.
func (i inspector) emulator(entry format, depth int) verdict {
	if entry.fixed {
		return verdict{}
	}
	seen := i.examine(entry.interpreter, filepath.Base(entry.interpreter), depth+1)
	if seen.cause == FileMissing || seen.cause == DanglingSymlink {
		return verdict{cause: EmulatorMissing, culprit: entry.interpreter, err: syscall.ENOENT}
	}
	return seen
}

package execguard

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// host is what the running kernel executes without help.
type host struct {
	name   string
	em     uint16
	bits   int
	order  binary.ByteOrder
	compat uint16 // a second, 32-bit machine that the kernel may execute; 0 if none
}

// hosts has one row per machine name of uname(2). arm* is found by its prefix.
var hosts = map[string]host{
	"x86_64":      {"x86-64", emX86_64, 64, binary.LittleEndian, emX86},
	"i386":        {"80386", emX86, 32, binary.LittleEndian, 0},
	"i486":        {"80386", emX86, 32, binary.LittleEndian, 0},
	"i586":        {"80386", emX86, 32, binary.LittleEndian, 0},
	"i686":        {"80386", emX86, 32, binary.LittleEndian, 0},
	"aarch64":     {"AArch64", emARM64, 64, binary.LittleEndian, emARM},
	"arm":         {"ARM", emARM, 32, binary.LittleEndian, 0},
	"riscv64":     {"RISC-V", emRISCV, 64, binary.LittleEndian, 0},
	"ppc64le":     {"PowerPC64 little-endian", emPPC64, 64, binary.LittleEndian, 0},
	"ppc64":       {"PowerPC64", emPPC64, 64, binary.BigEndian, emPPC},
	"s390x":       {"S/390", emS390, 64, binary.BigEndian, 0},
	"loongarch64": {"LoongArch", emLoong, 64, binary.LittleEndian, 0},
}

// goHosts serves where the kernel's machine cannot be learnt.
var goHosts = map[string]string{
	"amd64": "x86_64", "386": "i686", "arm64": "aarch64", "arm": "arm", "riscv64": "riscv64",
	"ppc64le": "ppc64le", "ppc64": "ppc64", "s390x": "s390x", "loong64": "loongarch64",
}

// thisHost asks the kernel rather than the program: /proc/sys/kernel/arch (Linux 6.1) is not bent by
// personality(2) or by user-mode emulators, uname(2) is.
func thisHost() host {
	names := []string{unameMachine(), goHosts[runtime.GOARCH]}
	if text, err := os.ReadFile("/proc/sys/kernel/arch"); err == nil {
		names = append([]string{strings.TrimSpace(string(text))}, names...)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "armv") {
			name = "arm"
		}
		if known, ok := hosts[name]; ok {
			return known
		}
	}
	return host{name: runtime.GOARCH, bits: 64, order: binary.LittleEndian}
}

func unameMachine() string {
	var uts syscall.Utsname
	if syscall.Uname(&uts) != nil {
		return ""
	}
	return chars(uts.Machine[:])
}

// chars turns a C array, signed or unsigned by architecture, into a string.
func chars[T int8 | uint8](array []T) string {
	text := make([]byte, 0, len(array))
	for _, c := range array {
		if c == 0 {
			break
		}
		text = append(text, byte(c))
	}
	return string(text)
}

// layoutFor is elf_check_arch: it says how the kernel reads a file's headers, or why not. compat is
// not empty where the kernel may have been built without that machine.
func (h host) layoutFor(head []byte) (as layout, compat string, err error) {
	if h.em == 0 {
		return layout{fileOrder(head), 32 * int(head[4])}, "the machine of this kernel is unknown", nil
	}
	number, class := machineOf(head, h.order), int(head[4])
	wrong := errors.New("got " + machineName(head) + ", expected " + h.name)
	switch {
	case number == h.em && h.bits == 64 && class == 1 && (h.em == emX86_64 || h.em == emRISCV):
		return layout{}, "", wrong
	case number == h.em:
		return layout{h.order, h.bits}, "", nil
	case h.compat != 0 && number == h.compat:
		return layout{h.order, 32}, "this kernel or CPU does not run 32-bit " + machineName(head) + " programs", nil
	}
	return layout{}, "", wrong
}

// Machine names what an ELF file was built for, such as "AArch64", whether or not this host runs it.
// It returns an empty string for a file that is not ELF.
func Machine(path string) (string, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return readMachine(file)
}

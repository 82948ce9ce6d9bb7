package probe

import (
	"debug/elf"
	"os"
	"runtime"
	"strings"
)

// goMachines has e_machine of a program built for each architecture.
var goMachines = map[string]elf.Machine{
	"386": elf.EM_386, "amd64": elf.EM_X86_64, "arm": elf.EM_ARM, "arm64": elf.EM_AARCH64, "loong64": elf.EM_LOONGARCH,
	"mips": elf.EM_MIPS, "mipsle": elf.EM_MIPS, "mips64": elf.EM_MIPS, "mips64le": elf.EM_MIPS, "ppc64": elf.EM_PPC64,
	"ppc64le": elf.EM_PPC64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390,
}

// kernels has the kernel machines on which an architecture runs natively.
var kernels = map[string]string{
	"386": "x86_64 i386 i486 i586 i686", "amd64": "x86_64", "arm64": "aarch64", "loong64": "loongarch64",
	"arm": "aarch64 armv5tel armv6l armv7l armv8l", "ppc64": "ppc64", "ppc64le": "ppc64le", "riscv64": "riscv64", "s390x": "s390x",
	"mips": "mips mips64", "mipsle": "mips mips64", "mips64": "mips64", "mips64le": "mips64",
}

// readEmulation looks where emulators do not: qemu-user answers /proc/self/exe with the guest's file,
// but /proc/thread-self/exe shows the file that the kernel really runs.
func readEmulation() Emulation {
	found := Emulation{State: NotDetected, Evidence: []string{}}
	found.userMode("/proc/thread-self/exe")
	found.foreignKernel(kernelMachine())
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		found.emulatedCPU(string(text))
	}
	return found
}

func (e *Emulation) add(state, evidence string) {
	if e.State != UserMode {
		e.State = state
	}
	e.Evidence = append(e.Evidence, evidence)
}

// userMode compares the machine of the file that the kernel runs with that of this program.
func (e *Emulation) userMode(link string) {
	file, err := elf.Open(link)
	if err != nil {
		return
	}
	defer file.Close()
	if file.Machine == goMachines[runtime.GOARCH] {
		return
	}
	e.Emulator, _ = os.Readlink(link)
	e.add(UserMode, "the kernel runs a file for "+strings.TrimPrefix(file.Machine.String(), "EM_")+" in this process")
}

// foreignKernel compares the machine of the kernel with that of this program.
func (e *Emulation) foreignKernel(machine string) {
	native := strings.Fields(kernels[runtime.GOARCH])
	if machine == "" || len(native) == 0 {
		return
	}
	for _, name := range native {
		if name == machine {
			return
		}
	}
	e.add(UserMode, "the kernel is built for "+machine)
}

// emulatedCPU knows the processors that only QEMU's code generator presents: the x86 model name, and
// the Arm part "Q" (0x51) of no implementer.
func (e *Emulation) emulatedCPU(cpuinfo string) {
	fields := map[string]string{}
	for line := range strings.Lines(cpuinfo) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			fields[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	if name := fields["model name"]; strings.HasPrefix(name, "QEMU TCG CPU") {
		e.add(SystemMode, "the CPU calls itself "+name)
	}
	if fields["CPU implementer"] == "0x00" && fields["CPU part"] == "0x051" {
		e.add(SystemMode, "the CPU has QEMU's part number 0x051")
	}
}

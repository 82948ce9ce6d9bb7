package probe

import "golang.org/x/sys/unix"

// readEmulation asks whether Rosetta translates this process.
func readEmulation() Emulation {
	if translated, err := unix.SysctlUint32("sysctl.proc_translated"); err == nil && translated == 1 {
		return Emulation{State: UserMode, Emulator: "Rosetta", Evidence: []string{"sysctl.proc_translated is 1"}}
	}
	return Emulation{State: NotDetected, Evidence: []string{}}
}

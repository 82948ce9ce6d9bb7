//go:build unix

package probe

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func readSystem() System {
	var uts unix.Utsname
	if unix.Uname(&uts) != nil {
		return System{}
	}
	return System{
		Sysname:       unix.ByteSliceToString(uts.Sysname[:]),
		Release:       unix.ByteSliceToString(uts.Release[:]),
		Version:       unix.ByteSliceToString(uts.Version[:]),
		Machine:       unix.ByteSliceToString(uts.Machine[:]),
		KernelMachine: kernelMachine(),
	}
}

// kernelMachine is empty outside Linux and before Linux 6.1.
func kernelMachine() string {
	text, err := os.ReadFile("/proc/sys/kernel/arch")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

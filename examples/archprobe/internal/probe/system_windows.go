package probe

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// windowsMachines are the IMAGE_FILE_MACHINE_ numbers of the PE format.
var windowsMachines = map[uint16]string{0x014c: "x86", 0x01c4: "ARM", 0x8664: "AMD64", 0xaa64: "ARM64"}

func readSystem() System {
	version := windows.RtlGetVersion()
	return System{
		Sysname: "Windows",
		Release: fmt.Sprintf("%d.%d", version.MajorVersion, version.MinorVersion),
		Version: fmt.Sprintf("build %d", version.BuildNumber),
		Machine: windowsMachines[nativeMachine()],
	}
}

// nativeMachine is the machine of the system, whatever this process was built for; 0 if unknown.
func nativeMachine() uint16 {
	var process, native uint16
	if windows.IsWow64Process2(windows.CurrentProcess(), &process, &native) != nil {
		return 0
	}
	return native
}

package probe

import "runtime"

// readEmulation compares the system's machine with that of this process. x86 on AMD64 is native.
func readEmulation() Emulation {
	native := windowsMachines[nativeMachine()]
	if native == "ARM64" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "386") {
		return Emulation{State: UserMode, Emulator: "Windows on Arm", Evidence: []string{"the system's machine is " + native}}
	}
	return Emulation{State: NotDetected, Evidence: []string{}}
}

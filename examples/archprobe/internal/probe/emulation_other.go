//go:build !linux && !darwin && !windows

package probe

func readEmulation() Emulation { return Emulation{State: NotDetected, Evidence: []string{}} }

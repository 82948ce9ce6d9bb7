//go:build !linux

package probe

// readLibc has little to say where the C library is a part of the system.
func readLibc(bool) Libc { return Libc{Kind: "system", Needed: []string{}, Mapped: []string{}} }

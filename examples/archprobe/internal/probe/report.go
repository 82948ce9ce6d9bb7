// Package probe tells what the running program was built for and what it runs on.
package probe

import (
	"os"
	"runtime"

	"golang.org/x/sys/cpu"
)

// SchemaVersion is the version of the JSON form of Report; it rises when a field changes its meaning.
const SchemaVersion = 1

// Report is everything the probe can tell. Nothing in it is remembered from build time except what
// the Go linker wrote into the program itself.
type Report struct {
	Schema    int       `json:"schema"`
	Program   Program   `json:"program"`
	Build     Build     `json:"build"`
	System    System    `json:"system"`
	CPU       CPU       `json:"cpu"`
	Libc      Libc      `json:"libc"`
	Emulation Emulation `json:"emulation"`
}

// Program names the program that answers.
type Program struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	GoVersion string `json:"go_version"`
}

// System is the kernel as it presents itself to this process.
type System struct {
	Hostname string `json:"hostname"`
	Sysname  string `json:"sysname"`
	Release  string `json:"release"`
	Version  string `json:"version"`
	// Machine is what uname(2) says. User-mode emulators and personality(2) bend it.
	Machine string `json:"machine"`
	// KernelMachine is /proc/sys/kernel/arch (Linux 6.1 and later), which they do not bend.
	KernelMachine string `json:"kernel_machine,omitempty"`
	// PageSize is in bytes.
	PageSize int `json:"page_size"`
}

// CPU is what golang.org/x/sys/cpu found at start-up.
type CPU struct {
	Count int `json:"count"`
	// Known is false where this operating system offers no way to ask.
	Known    bool     `json:"known"`
	Features []string `json:"features"`
}

// Libc is the C library of this process.
type Libc struct {
	// Kind is none, glibc, musl, system (not Linux), static (linked in, kind unknown) or unknown.
	Kind string `json:"kind"`
	// Version is the highest GLIBC_ version that the mapped library defines; empty for others.
	Version string `json:"version,omitempty"`
	// Interpreter is PT_INTERP of the program's own file.
	Interpreter string `json:"interpreter,omitempty"`
	// Needed is DT_NEEDED of the program's own file.
	Needed []string `json:"needed"`
	// Mapped are the shared objects in the address space.
	Mapped []string `json:"mapped"`
}

// States of Emulation.
const (
	// NotDetected means that no sign was found, not that there is none.
	NotDetected = "not-detected"
	// UserMode is an emulator or translator for single programs: qemu-user, box64, Rosetta.
	UserMode = "user-mode"
	// SystemMode is an emulated machine.
	SystemMode = "system"
)

// Emulation says whether the machine is emulated, as far as a process can tell.
type Emulation struct {
	State    string   `json:"state"`
	Emulator string   `json:"emulator,omitempty"`
	Evidence []string `json:"evidence"`
}

// Collect asks the program and the system. It never fails: what cannot be learnt stays empty.
func Collect(name, version string) Report {
	build := readBuild()
	hostname, _ := os.Hostname()
	system := readSystem()
	system.Hostname, system.PageSize = hostname, os.Getpagesize()
	return Report{
		Schema:    SchemaVersion,
		Program:   Program{name, versionOr(version, build), runtime.Version()},
		Build:     build,
		System:    system,
		CPU:       readCPU(),
		Libc:      readLibc(build.Cgo),
		Emulation: readEmulation(),
	}
}

// readCPU takes any feature as a sign that x/sys/cpu could ask: on arm64 it does not say so itself.
func readCPU() CPU {
	found := features(runtime.GOARCH)
	return CPU{runtime.NumCPU(), cpu.Initialized || len(found) > 0, found}
}

// versionOr prefers the version set by -X main.version.
func versionOr(version string, build Build) string {
	if version != "" {
		return version
	}
	return build.mainVersion
}

package probe

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestMachineIsThatOfUname(t *testing.T) {
	out, err := exec.Command("uname", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := readSystem().Machine, strings.TrimSpace(string(out)); got != want {
		t.Errorf("got %q, expected %q", got, want)
	}
}

func TestLibcKind(t *testing.T) {
	needed := []string{"libc.so.6"}
	for _, c := range []struct {
		libc Libc
		cgo  bool
		want string
	}{
		{Libc{}, false, "none"},
		{Libc{}, true, "static"},
		{Libc{Interpreter: "/lib/ld-linux-aarch64.so.1"}, false, "none"},
		{Libc{Interpreter: "/lib/ld-linux-aarch64.so.1", Needed: needed}, true, "glibc"},
		{Libc{Interpreter: "/lib64/ld64.so.2", Needed: needed}, true, "glibc"},
		{Libc{Interpreter: "/lib/ld-musl-aarch64.so.1", Needed: []string{"libc.so"}}, true, "musl"},
		{Libc{Interpreter: "/opt/loader", Needed: needed}, true, "unknown"},
	} {
		if got := libcKind(c.libc, c.cgo); got != c.want {
			t.Errorf("%+v: got %s, expected %s", c.libc, got, c.want)
		}
	}
}

func TestHighestVersion(t *testing.T) {
	versions := []elf.DynamicVersion{{Name: "GLIBC_2.4"}, {Name: "GLIBC_2.36"}, {Name: "GLIBC_2.5"}, {Name: "GLIBC_PRIVATE"}, {Name: "GLIBC_2.3.4"}}
	if got := highest(versions); got != "2.36" {
		t.Errorf("got %q, expected 2.36", got)
	}
}

// The answer about this process must agree with what the linker did to the test binary.
func TestLibcOfThisProcess(t *testing.T) {
	file, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	needed, _ := file.ImportedLibraries()
	got := readLibc(readBuild().Cgo)
	if (len(needed) > 0) != (len(got.Mapped) > 0) {
		t.Errorf("got mapped %v, expected libraries exactly where the file needs some: %v", got.Mapped, needed)
	}
	if got.Kind == "glibc" && !strings.HasPrefix(got.Version, "2.") {
		t.Errorf("got glibc version %q, expected 2.x", got.Version)
	}
}

// header writes an ELF header of the given machine.
func header(t *testing.T, machine elf.Machine) string {
	t.Helper()
	head := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57)...)
	binary.LittleEndian.PutUint16(head[16:], uint16(elf.ET_DYN))
	binary.LittleEndian.PutUint16(head[18:], uint16(machine))
	binary.LittleEndian.PutUint32(head[20:], 1)
	binary.LittleEndian.PutUint16(head[52:], 64)
	path := filepath.Join(t.TempDir(), "emulator")
	if err := os.WriteFile(path, head, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUserModeEmulation(t *testing.T) {
	link := filepath.Join(t.TempDir(), "exe")
	emulator := header(t, elf.EM_SPARCV9)
	if err := os.Symlink(emulator, link); err != nil {
		t.Fatal(err)
	}
	var found Emulation
	found.userMode(link)
	if found.State != UserMode || found.Emulator != emulator || len(found.Evidence) != 1 {
		t.Errorf("got %+v, expected user mode by %s", found, emulator)
	}
	found = Emulation{}
	found.userMode(header(t, goMachines[runtime.GOARCH]))
	found.userMode("/nonexistent")
	if found.State != "" {
		t.Errorf("got %+v, expected nothing for a file of our own machine", found)
	}
}

func TestForeignKernel(t *testing.T) {
	var found Emulation
	found.foreignKernel(strings.Fields(kernels[runtime.GOARCH])[0])
	found.foreignKernel("")
	if found.State != "" {
		t.Errorf("got %+v, expected nothing for our own kernel", found)
	}
	found.foreignKernel("sparc64")
	if found.State != UserMode {
		t.Errorf("got %+v, expected user mode on a foreign kernel", found)
	}
}

func TestEmulatedCPU(t *testing.T) {
	for text, want := range map[string]string{
		"model name\t: QEMU TCG CPU version 2.5+\n":            SystemMode,
		"CPU implementer\t: 0x00\nCPU part\t: 0x051\n":         SystemMode,
		"model name\t: AMD EPYC 7B13\nCPU implementer: 0x41\n": NotDetected,
		"CPU implementer\t: 0x41\nCPU part\t: 0xd40\n":         NotDetected,
	} {
		found := Emulation{State: NotDetected}
		if found.emulatedCPU(text); found.State != want {
			t.Errorf("%q: got %s, expected %s", text, found.State, want)
		}
	}
	both := Emulation{State: UserMode}
	if both.emulatedCPU("model name: QEMU TCG CPU\n"); both.State != UserMode || len(both.Evidence) != 1 {
		t.Errorf("got %+v, expected user mode to stay and the evidence to grow", both)
	}
}

func TestEveryArchitectureIsKnown(t *testing.T) {
	for goarch := range goMachines {
		if kernels[goarch] == "" {
			t.Errorf("got no kernel machine for %s", goarch)
		}
	}
}

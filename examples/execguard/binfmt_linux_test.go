package execguard

import (
	"encoding/binary"
	"path/filepath"
	"testing"
)

// thisOrder is the byte order of the files in these tests, whatever the host.
var thisOrder = order(binary.LittleEndian)

const qemuEntry = `enabled
interpreter /usr/bin/qemu-aarch64-static
flags: POCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
`

func TestRegisteredFormats(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "status", []byte("enabled\n"), 0o644)
	put(t, dir, "qemu-aarch64", []byte(qemuEntry), 0o644)
	put(t, dir, "off", []byte("disabled\ninterpreter /x\nmagic 00\n"), 0o644)
	put(t, dir, "jar", []byte("enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n"), 0o644)
	formats := registeredFormats(dir)
	if len(formats) != 2 {
		t.Fatalf("got %+v, expected two formats", formats)
	}
	arm := padded(elfImage(64, thisOrder, emARM64).bytes())
	if got, ok := matchFormat(formats, arm, "prog"); !ok || !got.fixed || got.interpreter != "/usr/bin/qemu-aarch64-static" {
		t.Errorf("got %+v, %v; expected qemu for an AArch64 file", got, ok)
	}
	if got, ok := matchFormat(formats, padded([]byte("PK\x03\x04")), "app.jar"); !ok || got.interpreter != "/usr/bin/jexec" {
		t.Errorf("got %+v, %v; expected jexec for a .jar file", got, ok)
	}
	if got, ok := matchFormat(formats, padded(elfImage(64, thisOrder, emX86_64).bytes()), "jar"); ok {
		t.Errorf("got %+v, expected no format for an x86-64 file", got)
	}
	put(t, dir, "status", []byte("disabled\n"), 0o644)
	if got := registeredFormats(dir); got != nil {
		t.Errorf("got %+v, expected none while binfmt_misc is disabled", got)
	}
}

// A file for another machine passes where an emulator is registered, unless the emulator is gone.
func TestEmulators(t *testing.T) {
	dir := t.TempDir()
	path := put(t, dir, "prog", elfImage(64, thisOrder, emSPARC).bytes(), 0o755)
	there, gone := self(t, dir), filepath.Join(dir, "gone")
	for _, c := range []struct {
		interpreter string
		fixed       bool
		cause       Cause
	}{{there, false, ""}, {gone, true, ""}, {gone, false, EmulatorMissing}} {
		entry := format{interpreter: c.interpreter, fixed: c.fixed, magic: []byte("\x7fELF")}
		i := inspector{host: thisHost(), formats: []format{entry}}
		if c.interpreter == there {
			i.formats[0].offset, i.formats[0].magic = 18, []byte{emSPARC, 0}
		}
		if got := i.examine(path, "prog", 0); got.cause != c.cause {
			t.Errorf("%+v: got %+v, expected cause %q", c, got, c.cause)
		}
	}
}

package execguard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

func TestReadProgram(t *testing.T) {
	for _, bits := range []int{32, 64} {
		for _, in := range []order{binary.LittleEndian, binary.BigEndian} {
			plain := elfImage(bits, in, emARM64)
			cut, past, nul := plain, plain.withInterpreter("/lib/ld.so\x00"), plain.withInterpreter("/lib/ld.so")
			cut.headers = []header{{kind: segmentLoad, offset: 64, length: 1 << 20}}
			past.headers = []header{{kind: segmentInterp, offset: 1 << 20, length: 9}}
			object, core := plain, plain
			object.kind, core.kind = 1, 4
			none, odd, far := plain, plain, plain
			none.count, odd.entrySize, far.tableOffset = 0, 57, 1<<31
			many := plain
			many.count = 65535
			two := plain.withInterpreter("/lib/ld.so\x00")
			two.headers = append(two.headers, header{kind: segmentInterp, offset: 1 << 20, length: 9})
			two.headers[0].offset += uint64(layout{bits: bits}.headerSize())
			for name, want := range map[string]struct {
				image image
				found program
				err   error
			}{
				"plain":            {plain, program{}, nil},
				"interpreter":      {plain.withInterpreter("/lib/ld.so\x00"), program{dynamic: true, interpreter: "/lib/ld.so"}, nil},
				"second ignored":   {two, program{dynamic: true, interpreter: "/lib/ld.so"}, nil},
				"cut":              {cut, program{cut: true}, nil},
				"interpreter past": {past, program{dynamic: true}, errInterpEnd},
				"no NUL":           {nul, program{dynamic: true}, errInterpName},
				"one byte":         {plain.withInterpreter("\x00"), program{dynamic: true}, errInterpName},
				"too long":         {plain.withInterpreter(strings.Repeat("a", 4096) + "\x00"), program{dynamic: true}, errInterpName},
				"longest":          {plain.withInterpreter(strings.Repeat("a", 4095) + "\x00"), program{dynamic: true, interpreter: strings.Repeat("a", 4095)}, nil},
				"object":           {object, program{}, errNotLinked},
				"core":             {core, program{}, errNotLinked},
				"no headers":       {none, program{}, errHeaderTable},
				"entry size":       {odd, program{}, errHeaderTable},
				"too many":         {many, program{}, errHeaderTable},
				"table past":       {far, program{}, errTableEnd},
			} {
				content := want.image.bytes()
				found, err := readProgram(bytes.NewReader(content), padded(content), int64(len(content)), layout{in, bits})
				if !errors.Is(err, want.err) || found != want.found {
					t.Errorf("%d-bit %v %s: got %+v, %v; expected %+v, %v", bits, in, name, found, err, want.found, want.err)
				}
			}
		}
	}
}

func padded(content []byte) []byte {
	head := make([]byte, scriptHead)
	copy(head, content)
	return head
}

func TestParseShebang(t *testing.T) {
	long := "#!/" + strings.Repeat("x", 300)
	for text, want := range map[string]shebang{
		"#!/bin/sh\n":            {"/bin/sh", "", false},
		"#! \t/bin/sh \t\n":      {"/bin/sh", "", false},
		"#!/bin/sh":              {"/bin/sh", "", false},
		"#!/bin/sh -e -u\necho":  {"/bin/sh", "-e -u", true},
		"#!/usr/bin/env\tsh\r\n": {"/usr/bin/env", "sh\r", true},
		"#!/bin/sh\r\n":          {"/bin/sh\r", "", false},
		"#!sh\n":                 {"sh", "", false},
		"#!/bin/sh\x00junk\n":    {"/bin/sh", "", false},
		"#!/a b" + long:          {"/a", ("b" + long)[:250], true},
	} {
		if got, err := parseShebang([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %+v, %v; expected %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"#!\n", "#! \t \n/bin/sh", long, "#!" + strings.Repeat(" ", 300) + "/bin/sh\n"} {
		if got, err := parseShebang([]byte(text)); err == nil {
			t.Errorf("%q: got %+v, expected an error", text, got)
		}
	}
}

func TestMachineName(t *testing.T) {
	little, big := order(binary.LittleEndian), order(binary.BigEndian)
	for want, m := range map[string]image{
		"x86-64": elfImage(64, little, emX86_64), "x32": elfImage(32, little, emX86_64),
		"AArch64": elfImage(64, little, emARM64), "AArch64 big-endian": elfImage(64, big, emARM64),
		"ARM": elfImage(32, little, emARM), "PowerPC64": elfImage(64, big, emPPC64),
		"PowerPC64 little-endian": elfImage(64, little, emPPC64), "S/390": elfImage(64, big, emS390),
		"MIPS": elfImage(32, big, emMIPS), "MIPS little-endian": elfImage(32, little, emMIPS),
		"RISC-V": elfImage(64, little, emRISCV), "RISC-V 32-bit": elfImage(32, little, emRISCV),
		"machine number 9999": elfImage(64, little, 9999),
	} {
		if got, err := readMachine(bytes.NewReader(m.bytes())); got != want || err != nil {
			t.Errorf("got %q, %v; expected %q", got, err, want)
		}
	}
	for _, other := range []string{"", "\x7fELF", "#!/bin/sh\necho a long enough script\n"} {
		if got, err := readMachine(strings.NewReader(other)); got != "" || err != nil {
			t.Errorf("%q: got %q, %v; expected nothing", other, got, err)
		}
	}
}

func TestDescribe(t *testing.T) {
	for text, want := range map[string]struct {
		cause Cause
		part  string
	}{
		"":                      {EmptyFile, ""},
		"MZ\x90\x00":            {WrongSystem, "Windows"},
		"\xcf\xfa\xed\xfe\x0c":  {WrongSystem, "macOS"},
		"\xca\xfe\xba\xbe\x00":  {WrongSystem, "macOS"},
		"echo hello\n":          {NoShebang, "text"},
		"\xef\xbb\xbf#!/bin/sh": {NoShebang, "byte order mark"},
		"!<arch>\nfoo":          {NoShebang, "ar archive"},
		"\x1f\x8b\x08\x00":      {UnknownFormat, "gzip"},
		"PK\x03\x04\x00":        {UnknownFormat, "zip"},
		"\x00asm\x01":           {UnknownFormat, "WebAssembly"},
		"\x00\x01\x02":          {UnknownFormat, "unknown bytes"},
		"version https://git-lfs.github.com/spec/v1\n": {NoShebang, "Git LFS"},
		"caf\xc3": {NoShebang, "text"},
	} {
		if got := foreignFormat([]byte(text)); got != want.cause {
			t.Errorf("%q: got cause %s, expected %s", text, got, want.cause)
		}
		if got := describe([]byte(text)); !strings.Contains(got, want.part) {
			t.Errorf("%q: got %q, expected it to contain %q", text, got, want.part)
		}
	}
}

func TestEveryCauseIsExplained(t *testing.T) {
	if len(Causes()) != len(meanings) || len(meanings) < 30 {
		t.Fatalf("got %d causes", len(Causes()))
	}
	seen := map[string]Cause{}
	for _, cause := range Causes() {
		if cause.Explanation() == "" || cause.Fix() == "" {
			t.Errorf("%s has no explanation or no remedy", cause)
		}
		if other, double := seen[cause.Explanation()]; double {
			t.Errorf("%s and %s have the same explanation", cause, other)
		}
		seen[cause.Explanation()] = cause
	}
}

// FuzzInspect holds every parser to its bounds: no panic, and no name longer than the kernel takes.
func FuzzInspect(f *testing.F) {
	little := elfImage(64, binary.LittleEndian, emX86_64)
	f.Add(little.bytes())
	f.Add(little.withInterpreter("/lib64/ld-linux-x86-64.so.2\x00").bytes())
	f.Add(elfImage(32, binary.BigEndian, emMIPS).withInterpreter("/lib/ld.so.1\x00").bytes())
	f.Add([]byte("#!/usr/bin/env -S sh -e\r\n"))
	f.Add([]byte("#!"))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, content []byte) {
		head := content[:min(len(content), scriptHead)]
		describe(head)
		foreignFormat(head)
		if _, err := readMachine(bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if line, err := parseShebang(head); err == nil && len(line.interpreter)+len(line.argument) >= scriptHead {
			t.Fatalf("%d bytes of interpreter and argument from a head of %d", len(line.interpreter)+len(line.argument), scriptHead)
		}
		for _, as := range []layout{{binary.LittleEndian, 64}, {binary.BigEndian, 64}, {binary.LittleEndian, 32}, {binary.BigEndian, 32}} {
			found, err := readProgram(bytes.NewReader(content), padded(content), int64(len(content)), as)
			if len(found.interpreter) >= maxInterpreter || err == nil && len(content) < as.headerSize() {
				t.Fatalf("%+v, %v from %d bytes", found, err, len(content))
			}
		}
	})
}

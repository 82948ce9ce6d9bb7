package probe

import (
	"bufio"
	"bytes"
	"debug/elf"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// readLibc reads the program's own file and the map of its address space.
func readLibc(cgo bool) Libc {
	libc := Libc{Kind: "unknown", Needed: []string{}, Mapped: mapped()}
	file, err := elf.Open("/proc/self/exe")
	if err != nil {
		return libc
	}
	defer file.Close()
	libc.Interpreter = interpreter(file)
	if needed, err := file.ImportedLibraries(); err == nil && needed != nil {
		libc.Needed = needed
	}
	libc.Kind = libcKind(libc, cgo)
	if libc.Kind == "glibc" {
		libc.Version = glibcVersion(libc.Mapped)
	}
	return libc
}

// libcKind goes by the name of the loader, which is fixed by each C library's ABI. A Go program with a
// loader but nothing needed (a position-independent one without cgo) has no C library in it.
func libcKind(libc Libc, cgo bool) string {
	loader := filepath.Base(libc.Interpreter)
	switch {
	case libc.Interpreter == "" && cgo:
		return "static"
	case libc.Interpreter == "" || len(libc.Needed) == 0:
		return "none"
	case strings.HasPrefix(loader, "ld-musl-"):
		return "musl"
	case strings.HasPrefix(loader, "ld-linux") || strings.HasPrefix(loader, "ld64.so") || loader == "ld.so.1":
		return "glibc"
	}
	return "unknown"
}

func interpreter(file *elf.File) string {
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			name, err := io.ReadAll(io.LimitReader(segment.Open(), 4096))
			if err != nil {
				return ""
			}
			return string(bytes.TrimRight(name, "\x00"))
		}
	}
	return ""
}

// mapped lists the shared objects in /proc/self/maps, sorted.
func mapped() []string {
	found := []string{}
	file, err := os.Open("/proc/self/maps")
	if err != nil {
		return found
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || !strings.HasPrefix(fields[5], "/") || slices.Contains(found, fields[5]) {
			continue
		}
		if base := filepath.Base(fields[5]); strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.") {
			found = append(found, fields[5])
		}
	}
	slices.Sort(found)
	return found
}

// glibcVersion is the highest GLIBC_x.y that the mapped libc.so.6 defines: the version of glibc itself.
func glibcVersion(mapped []string) string {
	for _, path := range mapped {
		if base := filepath.Base(path); base != "libc.so.6" && !strings.HasPrefix(base, "libc-2.") {
			continue
		}
		file, err := elf.Open(path)
		if err != nil {
			continue
		}
		defer file.Close()
		versions, err := file.DynamicVersions()
		if err != nil {
			continue
		}
		return highest(versions)
	}
	return ""
}

func highest(versions []elf.DynamicVersion) string {
	best, number := "", -1
	for _, version := range versions {
		name, ok := strings.CutPrefix(version.Name, "GLIBC_2.")
		minor, err := strconv.Atoi(name)
		if ok && err == nil && minor > number {
			best, number = "2."+name, minor
		}
	}
	return best
}

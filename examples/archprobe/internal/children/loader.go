package children

import "strings"

// symptom is a message by which a dynamic loader, or the Go runtime, ends a program before main.
type symptom struct {
	text, cause, explanation, fix string
}

// symptoms are searched in order. The texts are those of glibc's elf/dl-load.c, elf/dl-version.c and
// elf/dl-lookup.c, of musl's ldso/dynlink.c and of Go's runtime/asm_amd64.s.
var symptoms = []symptom{
	{"wrong ELF class", "library-wrong-machine", "a library has another word size than the program", "install the library built for this machine"},
	{"cannot open shared object file", "library-missing", "a library that the program needs was not found", "install it, or link statically"},
	{"Error loading shared library", "library-missing", "a library that the program needs was not found", "install it, or link statically"},
	{"CPU ISA level is lower than required", "cpu-level", "the program or a library needs a newer CPU", "build for a lower level"},
	{"This program can only be run on", "cpu-level", "the program needs a newer CPU", "build for a lower level"},
	{"' not found (required by", "library-too-old", "a library lacks a symbol version that the program needs", "build against an older C library"},
	{"symbol lookup error", "symbol-missing", "a library lacks a symbol that the program needs", "match the versions of program and libraries"},
	{"Error relocating", "symbol-missing", "a library lacks a symbol, or is of another machine", "match program and libraries"},
	{"invalid ELF header", "library-invalid", "a library is not an ELF file", "install the real library"},
	{"file too short", "library-invalid", "a library is truncated", "install the real library"},
	{"failed to map segment", "library-unmappable", "a library cannot be mapped, often for a noexec mount", "move it, or remount"},
	{"not page-aligned", "library-page-size", "a library is aligned to smaller pages than this kernel has", "relink with -z max-page-size=65536"},
	{"Unsupported system page size", "page-size", "an allocator was built for smaller pages", "build it for 64K pages"},
}

// signalCauses are deaths that speak of the machine rather than of the program's task.
var signalCauses = map[string]symptom{
	"illegal instruction": {"", "illegal-instruction", "the CPU lacks an instruction that the program uses", "build for a lower level"},
	"bus error":           {"", "bus-error", "a file is shorter than its headers say, or an access is misaligned", "compare checksums"},
	"segmentation fault":  {"", "segmentation-fault", "the program touched memory that is not there; at once after the start it may be the page size or a truncated file", "check the file's segments"},
}

// afterStart names why a program that was started ended badly. reason is the context's error.
func (o *Outcome) afterStart(reason error) {
	if reason != nil {
		o.name(StageRun, symptom{"", "timeout", "the program did not end in time and was killed", "raise -exec-timeout"})
		return
	}
	if known, ok := signalCauses[o.Signal]; ok {
		o.name(StageRun, known)
		return
	}
	for _, known := range symptoms {
		if strings.Contains(o.Stderr, known.text) && (o.code() == 127 || o.code() == 1) {
			o.name(StageLoad, known)
			o.Detail = lineWith(o.Stderr, known.text)
			return
		}
	}
	o.name(StageRun, symptom{"", "program", "the program started and ended with an error of its own", "read its output"})
}

func (o *Outcome) name(stage string, known symptom) {
	o.Stage, o.Cause, o.Explanation, o.Fix = stage, known.cause, known.explanation, known.fix
}

func (o *Outcome) code() int {
	if o.ExitCode == nil {
		return -1
	}
	return *o.ExitCode
}

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

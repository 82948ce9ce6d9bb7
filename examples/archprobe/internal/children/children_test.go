//go:build unix

package children

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func script(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func list(paths ...string) List { return List{Allowed: paths, Timeout: 20 * time.Second} }

func TestStart(t *testing.T) {
	quick := func(path string) List { return List{Allowed: []string{path}, Timeout: 50 * time.Millisecond} }
	for name, c := range map[string]struct {
		text    string
		list    func(string) List
		want    Outcome
		code    int
		started bool
	}{
		"good":           {"#!/bin/sh\necho \"$1\"\n", nil, Outcome{OK: true, Stage: StageRun, Stdout: "one\n"}, 0, true},
		"failing":        {"#!/bin/sh\nexit 3\n", nil, Outcome{Stage: StageRun, Cause: "program"}, 3, true},
		"no interpreter": {"#!/none/sh\n", nil, Outcome{Stage: "exec", Cause: "script-interpreter-missing", Errno: "ENOENT"}, -1, false},
		"crlf":           {"#!/bin/sh\r\n", nil, Outcome{Stage: "exec", Cause: "crlf-shebang", Errno: "ENOENT"}, -1, false},
		"slow":           {"#!/bin/sh\nexec sleep 20\n", quick, Outcome{Stage: StageRun, Cause: "timeout", Signal: "killed"}, -1, true},
		"killed":         {"#!/bin/sh\nkill -SEGV $$\n", nil, Outcome{Stage: StageRun, Cause: "segmentation-fault", Signal: "segmentation fault"}, -1, true},
		"illegal":        {"#!/bin/sh\nkill -ILL $$\n", nil, Outcome{Stage: StageRun, Cause: "illegal-instruction", Signal: "illegal instruction"}, -1, true},
		"loader": {
			"#!/bin/sh\necho 'x: error while loading shared libraries: liba.so: cannot open shared object file' >&2\nexit 127\n",
			nil, Outcome{Stage: StageLoad, Cause: "library-missing"}, 127, true,
		},
	} {
		path := script(t, c.text, 0o755)
		programs := list(path)
		if c.list != nil {
			programs = c.list(path)
		}
		got := programs.Start(t.Context(), path, []string{"one"})
		code := -1
		if got.ExitCode != nil {
			code = *got.ExitCode
		}
		if got.OK != c.want.OK || got.Stage != c.want.Stage || got.Cause != c.want.Cause || got.Errno != c.want.Errno ||
			got.Signal != c.want.Signal || got.Stdout != c.want.Stdout || got.Started != c.started || code != c.code {
			t.Errorf("%s: got %+v (code %d), expected %+v (code %d, started %v)", name, got, code, c.want, c.code, c.started)
		}
		if !got.OK && (got.Explanation == "" || got.Fix == "" || got.Error == "") {
			t.Errorf("%s: got %+v, expected an explanation, a fix and an error", name, got)
		}
	}
}

func TestOnlyTheListIsStarted(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	path := script(t, "#!/bin/sh\necho > "+trace+"\n", 0o755)
	for _, allowed := range [][]string{nil, {"/bin/sh"}, {filepath.Dir(path)}, {path + "x"}} {
		if got := list(allowed...).Start(t.Context(), path, nil); got.OK || got.Started {
			t.Errorf("%v: got %+v, expected a refusal", allowed, got)
		}
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("got a trace of the program, expected that it never ran")
	}
}

func TestOutputIsLimited(t *testing.T) {
	path := script(t, "#!/bin/sh\nhead -c 300000 /dev/zero\n", 0o755)
	if got := list(path).Start(t.Context(), path, nil); len(got.Stdout) != maxOutput || !got.OK {
		t.Errorf("got %d bytes, ok %v; expected %d and success", len(got.Stdout), got.OK, maxOutput)
	}
}

func TestCheckStartsNothing(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	good, bad := script(t, "#!/bin/sh\necho > "+trace+"\n", 0o755), script(t, "#!/bin/sh\n", 0o644)
	got := list(good, bad).Check()
	if len(got) != 2 || !got[0].OK || got[1].OK || got[1].Cause != "not-executable" || got[1].Stage != "check" {
		t.Errorf("got %+v, expected the first to pass and the second to be not executable", got)
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("got a trace of the program, expected that it never ran")
	}
}

func TestSymptoms(t *testing.T) {
	for text, want := range map[string]string{
		"./a: error while loading shared libraries: libz.so.1: cannot open shared object file: No such file": "library-missing",
		"libz.so.1: wrong ELF class: ELFCLASS32":                                              "library-wrong-machine",
		"./a: /lib/libc.so.6: version `GLIBC_2.38' not found (required by ./a)":               "library-too-old",
		"./a: CPU ISA level is lower than required":                                           "cpu-level",
		"This program can only be run on AMD64 processors with v3 microarchitecture support.": "cpu-level",
		"Error loading shared library libz.so.1: No such file or directory (needed by ./a)":   "library-missing",
		"Error relocating ./a: foo: symbol not found":                                         "symbol-missing",
		"something else": "program",
	} {
		code := 127
		outcome := Outcome{Stderr: "first line\n" + text + "\n", ExitCode: &code}
		if outcome.afterStart(nil); outcome.Cause != want {
			t.Errorf("%q: got %s, expected %s", text, outcome.Cause, want)
		}
		if want != "program" && !strings.Contains(outcome.Detail, text) {
			t.Errorf("%q: got detail %q, expected the line", text, outcome.Detail)
		}
	}
	code := 2
	outcome := Outcome{Stderr: "cannot open shared object file", ExitCode: &code}
	if outcome.afterStart(nil); outcome.Cause != "program" {
		t.Errorf("got %s, expected a program's own exit status 2 not to be blamed on the loader", outcome.Cause)
	}
}

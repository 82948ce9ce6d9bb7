package execguard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// native is the layout of the machine that the tests run on.
func native(t *testing.T) image {
	t.Helper()
	h := thisHost()
	if h.em == 0 {
		t.Fatalf("got the unknown host %q, expected a row in hosts", h.name)
	}
	return elfImage(h.bits, h.order.(order), h.em)
}

// self copies the test binary, which with roleVariable set ends at once with status 0.
func self(t *testing.T, dir string) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return put(t, dir, "self", content, 0o755)
}

func start(path string, arguments ...string) error {
	cmd := Command(path, arguments...)
	cmd.Env = []string{roleVariable + "=child"}
	return cmd.Run()
}

// expectFailure starts the file for real, and holds both the explanation of the failure and the
// prediction against what is expected.
func expectFailure(t *testing.T, path string, cause Cause, errno syscall.Errno, culprit string) {
	t.Helper()
	var failure *Error
	err := start(path)
	if !errors.As(err, &failure) {
		t.Errorf("%s: got %v, expected an *Error", filepath.Base(path), err)
		return
	}
	if failure.Cause != cause || !errors.Is(err, errno) || failure.Stage != StageExec || failure.Errno != ErrnoName(errno) {
		t.Errorf("%s: got %s %s at %s (%v), expected %s %s", filepath.Base(path), failure.Cause, failure.Errno, failure.Stage, err, cause, ErrnoName(errno))
	}
	if culprit != "" && failure.Culprit != culprit {
		t.Errorf("%s: got culprit %s, expected %s", filepath.Base(path), failure.Culprit, culprit)
	}
	var predicted *Error
	if err := Check(path); !errors.As(err, &predicted) || predicted.Cause != cause || !errors.Is(err, errno) {
		t.Errorf("%s: predicted %v, expected %s", filepath.Base(path), err, cause)
	}
}

func TestFilesThatDoNotExecute(t *testing.T) {
	base, dir := native(t), t.TempDir()
	other := base
	other.machine = emSPARC
	swapped := base
	swapped.order = map[bool]order{true: binary.BigEndian, false: binary.LittleEndian}[base.order == order(binary.LittleEndian)]
	object, none, odd, far, short := base, base, base, base, base.bytes()[:40]
	object.kind, none.count, odd.entrySize, far.tableOffset = 1, 0, 57, 1<<30
	interpEnd := base
	interpEnd.headers = []header{{kind: segmentInterp, offset: 1 << 20, length: 20}}
	for _, c := range []struct {
		name    string
		content []byte
		cause   Cause
		errno   syscall.Errno
	}{
		{"other machine", other.bytes(), WrongMachine, syscall.ENOEXEC},
		{"other byte order", swapped.bytes(), WrongMachine, syscall.ENOEXEC},
		{"object file", object.bytes(), NotLinked, syscall.ENOEXEC},
		{"no program headers", none.bytes(), BadProgramHeaders, syscall.ENOEXEC},
		{"header size", odd.bytes(), BadProgramHeaders, syscall.ENOEXEC},
		{"header table past the end", far.bytes(), Truncated, syscall.ENOEXEC},
		{"half a header", short, Truncated, syscall.ENOEXEC},
		{"magic alone", []byte("\x7fELF"), Truncated, syscall.ENOEXEC},
		{"interpreter past the end", interpEnd.bytes(), Truncated, syscall.EIO},
		{"interpreter without NUL", base.withInterpreter("/lib/ld.so").bytes(), BadProgramHeaders, syscall.ENOEXEC},
		{"empty", nil, EmptyFile, syscall.ENOEXEC},
		{"text", []byte("echo hello\n"), NoShebang, syscall.ENOEXEC},
		{"byte order mark", []byte("\xef\xbb\xbf#!/bin/sh\n"), NoShebang, syscall.ENOEXEC},
		{"bare shebang", []byte("#!\n"), BadShebang, syscall.ENOEXEC},
		{"blank shebang", []byte("#! \t \n"), BadShebang, syscall.ENOEXEC},
		{"long shebang", []byte("#!/" + strings.Repeat("x", 300) + "\n"), BadShebang, syscall.ENOEXEC},
		{"windows", []byte("MZ\x90\x00\x03"), WrongSystem, syscall.ENOEXEC},
		{"bytes", []byte{0, 1, 2, 3}, UnknownFormat, syscall.ENOEXEC},
		{"crlf", []byte("#!/bin/sh\r\necho\r\n"), CRLFShebang, syscall.ENOENT},
	} {
		expectFailure(t, put(t, dir, c.name, c.content, 0o755), c.cause, c.errno, "")
	}
}

const emSPARC = 43

func TestInterpretersAndLoaders(t *testing.T) {
	base, dir := native(t), t.TempDir()
	other := base
	other.machine = emSPARC
	files := map[string]string{
		"missing": filepath.Join(dir, "missing"),
		"mode":    put(t, dir, "mode", base.bytes(), 0o644),
		"text":    put(t, dir, "text", []byte(strings.Repeat("no loader\n", 20)), 0o755),
		"short":   put(t, dir, "short", []byte("no loader"), 0o755),
		"other":   put(t, dir, "other", other.bytes(), 0o755),
		"dir":     dir,
		"link":    filepath.Join(dir, "link"),
	}
	if err := os.Symlink("nowhere", files["link"]); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file             string
		script, loader   Cause
		scriptErr, ldErr syscall.Errno
	}{
		{"missing", ScriptInterpreterMissing, LoaderMissing, syscall.ENOENT, syscall.ENOENT},
		{"link", ScriptInterpreterMissing, LoaderMissing, syscall.ENOENT, syscall.ENOENT},
		{"mode", NotExecutable, NotExecutable, syscall.EACCES, syscall.EACCES},
		{"dir", NotRegular, NotRegular, syscall.EACCES, syscall.EACCES},
		{"text", NoShebang, LoaderInvalid, syscall.ENOEXEC, syscall.ELIBBAD},
		{"short", NoShebang, LoaderInvalid, syscall.ENOEXEC, syscall.EIO},
		{"other", WrongMachine, LoaderInvalid, syscall.ENOEXEC, syscall.ELIBBAD},
	} {
		path := files[c.file]
		expectFailure(t, put(t, dir, c.file+" script", []byte("#!"+path+"\n"), 0o755), c.script, c.scriptErr, path)
		expectFailure(t, put(t, dir, c.file+" elf", base.withInterpreter(path+"\x00").bytes(), 0o755), c.loader, c.ldErr, path)
	}
}

func TestScriptNesting(t *testing.T) {
	dir := t.TempDir()
	interpreter := self(t, dir)
	for depth := 1; depth <= 6; depth++ {
		script := put(t, dir, fmt.Sprint("script", depth), []byte("#!"+interpreter+"\n"), 0o755)
		if depth <= maxRewrites {
			if err := errors.Join(start(script), Check(script)); err != nil {
				t.Errorf("depth %d: got %v, expected success", depth, err)
			}
		} else {
			expectFailure(t, script, ScriptNesting, syscall.ELOOP, "")
		}
		interpreter = script
	}
}

func TestPaths(t *testing.T) {
	dir := t.TempDir()
	plain := put(t, dir, "plain", native(t).bytes(), 0o644)
	pipe, loop, dangling := filepath.Join(dir, "pipe"), filepath.Join(dir, "loop"), filepath.Join(dir, "dangling")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o777), os.Symlink("loop", loop), os.Symlink("nowhere", dangling)); err != nil {
		t.Fatal(err)
	}
	expectFailure(t, filepath.Join(dir, "none"), FileMissing, syscall.ENOENT, "")
	expectFailure(t, dangling, DanglingSymlink, syscall.ENOENT, "")
	expectFailure(t, filepath.Join(plain, "x"), NotADirectory, syscall.ENOTDIR, "")
	expectFailure(t, loop, SymlinkLoop, syscall.ELOOP, "")
	expectFailure(t, filepath.Join(dir, strings.Repeat("n", 300)), NameTooLong, syscall.ENAMETOOLONG, "")
	expectFailure(t, plain, NotExecutable, syscall.EACCES, "")
	expectFailure(t, dir, NotRegular, syscall.EACCES, "")
	expectFailure(t, pipe, NotRegular, syscall.EACCES, "")
}

// Causes that lie outside the file: Check cannot foresee them.
func TestCircumstances(t *testing.T) {
	dir := t.TempDir()
	program := self(t, dir)
	if err := errors.Join(Check(program), start(program)); err != nil {
		t.Fatalf("got %v, expected success", err)
	}
	expectCause(t, start(program, strings.Repeat("a", 200<<10)), ArgumentsTooLong, StageExec, syscall.E2BIG)

	elsewhere := Command(program)
	elsewhere.Dir = filepath.Join(dir, "none")
	expectCause(t, elsewhere.Run(), WorkingDirectory, StageChdir, syscall.ENOENT)

	writer, err := os.OpenFile(program, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	expectCause(t, start(program), Busy, StageExec, syscall.ETXTBSY)
}

func expectCause(t *testing.T, err error, cause Cause, stage Stage, errno error) {
	t.Helper()
	var failure *Error
	if !errors.As(err, &failure) || failure.Cause != cause || failure.Stage != stage {
		t.Errorf("got %v, expected %s at %s", err, cause, stage)
	}
	if errno != nil && !errors.Is(err, errno) {
		t.Errorf("got %v, expected it to wrap %v", err, errno)
	}
}

// A program whose bytes are cut starts and dies: execve has no complaint, Check has.
func TestCutSegment(t *testing.T) {
	cut := native(t)
	cut.headers = append([]header{}, header{kind: segmentLoad, offset: 0, length: 1 << 20})
	path := put(t, t.TempDir(), "cut", cut.bytes(), 0o755)
	expectCause(t, Check(path), Truncated, StageCheck, nil)
	var exit *exec.ExitError
	if err := start(path); !errors.As(err, &exit) {
		t.Errorf("got %v, expected the program to start and die", err)
	}
}

// env takes the CR as part of a name: the kernel has no complaint, Check has.
func TestCRLFAfterEnv(t *testing.T) {
	path := put(t, t.TempDir(), "script", []byte("#!/usr/bin/env sh\r\n"), 0o755)
	expectCause(t, Check(path), CRLFShebang, StageCheck, nil)
	var exit *exec.ExitError
	if err := start(path); !errors.As(err, &exit) || exit.ExitCode() != 127 {
		t.Errorf("got %v, expected exit status 127 from env", err)
	}
}

// Other failures come back untouched.
func TestOtherErrorsPass(t *testing.T) {
	err := Command("/bin/sh", "-c", "exit 3").Run()
	var exit *exec.ExitError
	var failure *Error
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || errors.As(err, &failure) {
		t.Errorf("got %v, expected exit status 3 and no *Error", err)
	}
	out, err := Command("/bin/sh", "-c", "echo out; echo err >&2").Output()
	if string(out) != "out\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	out, err = Command("/bin/sh", "-c", "echo out; echo err >&2").CombinedOutput()
	if string(out) != "out\nerr\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	other := native(t)
	other.machine = emSPARC
	put(t, dir, "other", other.bytes(), 0o755)
	put(t, dir, "plain", other.bytes(), 0o644)
	good := self(t, dir)

	if path, err := LookPath("self"); path != good || err != nil {
		t.Errorf("got %q, %v; expected %q", path, err, good)
	}
	if _, err := exec.LookPath("other"); err != nil {
		t.Errorf("got %v, expected exec.LookPath to pass a file for another machine", err)
	}
	path, err := LookPath("other")
	if path == "" {
		t.Error("got no path, expected it with the error of the check")
	}
	expectCause(t, err, WrongMachine, StageCheck, syscall.ENOEXEC)
	if machine, err := Machine(path); machine != "SPARC V9" || err != nil {
		t.Errorf("got machine %q, %v; expected SPARC V9", machine, err)
	}
	_, err = LookPath("plain")
	expectCause(t, err, NotExecutable, StageLookup, exec.ErrNotFound)
	_, err = LookPath("none")
	expectCause(t, err, NotInPath, StageLookup, exec.ErrNotFound)
	expectCause(t, Command("none").Run(), NotInPath, StageLookup, exec.ErrNotFound)
	_, err = LookPath(filepath.Join(dir, "none"))
	expectCause(t, err, FileMissing, StageLookup, os.ErrNotExist)
	t.Chdir(dir)
	t.Setenv("PATH", ".")
	expectCause(t, Command("self").Run(), RelativeInPath, StageLookup, exec.ErrDot)
}

// A relative path is one of the child's directory.
func TestRelativeToDir(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "text", []byte("echo\n"), 0o755)
	cmd := Command("./text")
	cmd.Dir = dir
	expectCause(t, cmd.Run(), NoShebang, StageExec, syscall.ENOEXEC)
}

// Errnos that no test can provoke safely still lead to their cause.
func TestErrnoAlone(t *testing.T) {
	cmd := exec.Command("/bin/sh")
	for errno, cause := range map[syscall.Errno]Cause{
		syscall.EAGAIN: ProcessLimit, syscall.ENOMEM: OutOfMemory, syscall.EPERM: Forbidden, syscall.EMFILE: FileLimit,
		syscall.EFAULT: Unknown, syscall.ENOEXEC: UnknownFormat,
	} {
		expectCause(t, Explain(cmd, &os.PathError{Op: "fork/exec", Path: "/bin/sh", Err: errno}), cause, StageExec, errno)
	}
}

package execguard

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// roleVariable makes the test binary play a part: a child that succeeds, an interpreter that prints
// its arguments, or a process with other rights that tests on its own.
const roleVariable = "EXECGUARD_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(m.Run())
	case "arguments":
		fmt.Printf("%q", os.Args[1:])
	case "noexec", "binfmt", "nobody":
		play(role, os.Args[1])
	}
}

// play runs one test with other rights and prints the result as JSON.
func play(role, dir string) {
	path := filepath.Join(dir, "self")
	var err error
	switch role {
	case "noexec":
		err = syscall.Mount("none", filepath.Join(dir, "mount"), "tmpfs", syscall.MS_NOEXEC, "")
		path = filepath.Join(dir, "mount", "self")
		content, readErr := os.ReadFile(filepath.Join(dir, "self"))
		err = errors.Join(err, readErr, os.WriteFile(path, content, 0o755))
	case "binfmt":
		err = syscall.Mount("none", binfmtDirectory, "binfmt_misc", 0, "")
		entry := ":guard:M::GUARDTEST::" + filepath.Join(dir, "no-emulator") + ":"
		err = errors.Join(err, os.WriteFile(binfmtDirectory+"/register", []byte(entry), 0))
		path = filepath.Join(dir, "guarded")
	case "nobody":
		path = filepath.Join(dir, "closed", "self")
	}
	result := played{}
	if err != nil {
		result.Setup = err.Error()
	} else {
		os.Setenv(roleVariable, "child")
		var failure, predicted *Error
		errors.As(Command(path).Run(), &failure)
		errors.As(Check(path), &predicted)
		result.Failure, result.Predicted = failure, predicted
		if failure != nil {
			failure.Err = nil
		}
		if predicted != nil {
			predicted.Err = nil
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(result)
}

type played struct {
	Setup              string
	Failure, Predicted *Error
}

// expectPlayed runs a role in a process with the given attributes.
func expectPlayed(t *testing.T, role, dir string, attributes *syscall.SysProcAttr, cause Cause, errno string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, "self"), dir)
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), roleVariable+"="+role), attributes
	out, err := cmd.Output()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("this system forbids the namespace or the user that the test needs: %v", err)
	}
	var result played
	if err := errors.Join(err, json.Unmarshal(out, &result)); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if result.Setup != "" {
		t.Skipf("this system forbids the mount that the test needs: %s", result.Setup)
	}
	for _, got := range []*Error{result.Failure, result.Predicted} {
		if got == nil || got.Cause != cause || got.Errno != errno {
			t.Errorf("got %+v, expected %s %s", got, cause, errno)
		}
	}
}

// namespace makes the child root of a user and mount namespace of its own.
func namespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

func TestNoExecMount(t *testing.T) {
	dir := t.TempDir()
	self(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "mount"), 0o755); err != nil {
		t.Fatal(err)
	}
	expectPlayed(t, "noexec", dir, namespace(), NoExecMount, "EACCES")
}

func TestMissingEmulator(t *testing.T) {
	dir := t.TempDir()
	self(t, dir)
	put(t, dir, "guarded", []byte("GUARDTEST and more"), 0o755)
	expectPlayed(t, "binfmt", dir, namespace(), EmulatorMissing, "ENOENT")
}

func TestClosedDirectory(t *testing.T) {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := self(t, dir)
	closed := filepath.Join(dir, "closed")
	if err := errors.Join(os.Mkdir(closed, 0o700), os.Link(program, filepath.Join(closed, "self"))); err != nil {
		t.Fatal(err)
	}
	attributes := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if os.Getuid() != 0 {
		if err := os.Chmod(closed, 0); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(closed, 0o700)
		attributes = nil
	}
	expectPlayed(t, "nobody", dir, attributes, NoPermission, "EACCES")
}

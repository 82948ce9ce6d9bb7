package execguard

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The kernel judges every line, ours must agree: same errno, same interpreter, same argument.
func TestShebangAgreesWithKernel(t *testing.T) {
	dir := t.TempDir()
	interpreter := self(t, dir)
	pieces := []string{" ", "\t", "\n", "\r", "\x00", "a", "-x", interpreter, interpreter, strings.Repeat("y", 120), "/", "."}
	random := rand.New(rand.NewPCG(1, 2))
	path := filepath.Join(dir, "script")
	for range 800 {
		text := "#!"
		for range random.IntN(7) {
			text += pieces[random.IntN(len(pieces))]
		}
		agreeOnScript(t, path, text)
	}
	// The last bytes that the kernel looks at, with every ending.
	for length := scriptHead - 5; length <= scriptHead+3; length++ {
		for _, ending := range []string{"", "\n", " ", " \n", "\x00", " a", " a\n"} {
			for _, name := range []string{interpreter + " ", "/", " ", interpreter + "/"} {
				agreeOnScript(t, path, "#!"+name+strings.Repeat("y", length-len(name)-len(ending)-2)+ending)
				agreeOnScript(t, path, "#!"+strings.Repeat(" ", length-len(name)-len(ending)-2)+name+ending)
			}
		}
	}
}

func agreeOnScript(t *testing.T, path, text string) {
	t.Helper()
	put(t, filepath.Dir(path), filepath.Base(path), []byte(text), 0o755)
	cmd := exec.Command(path)
	cmd.Env = []string{roleVariable + "=arguments"}
	out, err := cmd.Output()
	line, parseErr := parseShebang([]byte(text))
	var errno, foretold syscall.Errno
	errors.As(err, &errno)
	predicted := inspect(path)
	if errors.As(predicted.err, &foretold); foretold != errno {
		t.Fatalf("%q: the kernel says %v, predicted %+v", text, err, predicted)
	}
	want := []string{path}
	if line.hasArgument {
		want = []string{line.argument, path}
	}
	if err == nil && (parseErr != nil || string(out) != fmt.Sprintf("%q", want)) {
		t.Fatalf("%q: the kernel gave %s, expected %q (%v)", text, out, want, parseErr)
	}
}

// Random damage to the headers: the errno foretold must be the errno seen.
func TestDamageAgreesWithKernel(t *testing.T) {
	dir := t.TempDir()
	loader := self(t, dir)
	whole := native(t).withInterpreter(loader + "\x00").bytes()
	random := rand.New(rand.NewPCG(3, 4))
	seen := map[syscall.Errno]int{}
	for range 800 {
		content := append([]byte{}, whole...)
		for range 1 + random.IntN(3) {
			content[16+random.IntN(104)] = byte(random.IntN(256))
		}
		if random.IntN(5) == 0 {
			content = content[:random.IntN(len(content))]
		}
		path := put(t, dir, "damaged", content, 0o755)
		var errno, want syscall.Errno
		errors.As(execOnly(path), &errno)
		predicted := inspect(path)
		errors.As(predicted.err, &want)
		if errno != want && (predicted.compat == "" || errno != syscall.ENOEXEC) {
			t.Fatalf("% x: the kernel says %v, predicted %+v", content[:min(len(content), 128)], errno, predicted)
		}
		seen[errno]++
	}
	if len(seen) < 3 {
		t.Errorf("got outcomes %v, expected a variety", seen)
	}
}

// execOnly kills the program as soon as execve has succeeded: what damaged headers lead to may not end.
func execOnly(path string) error {
	cmd := exec.Command(path)
	cmd.Env = []string{roleVariable + "=child"}
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Process.Kill()
	var exit *exec.ExitError
	if waitErr := cmd.Wait(); !errors.As(waitErr, &exit) {
		err = errors.Join(err, waitErr)
	}
	return err
}

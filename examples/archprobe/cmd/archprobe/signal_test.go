//go:build unix

package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets the test binary be archprobe itself.
func TestMain(m *testing.M) {
	if os.Getenv("ARCHPROBE_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

// Both signals end the real program cleanly.
func TestSignals(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-listen", "127.0.0.1:0")
		cmd.Env = append(os.Environ(), "ARCHPROBE_TEST_MAIN=1")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(stderr).ReadString('\n')
		address, ok := strings.CutPrefix(strings.TrimSpace(line), "archprobe: serving on ")
		if err != nil || !ok {
			t.Fatalf("got %q, %v; expected the address", line, err)
		}
		response, err := http.Get(fmt.Sprint(address, "/healthz"))
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("got %v, %v", response, err)
		}
		response.Body.Close()
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: got %v, expected a clean end", signal, err)
		}
	}
}

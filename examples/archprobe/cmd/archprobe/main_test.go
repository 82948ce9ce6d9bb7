package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func call(t *testing.T, arguments ...string) (status int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status = run(t.Context(), arguments, &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

func TestVersion(t *testing.T) {
	status, out, _ := call(t, "-version")
	if status != 0 || !strings.HasPrefix(out, "archprobe ") || !strings.Contains(out, runtime.GOOS+"/"+runtime.GOARCH) {
		t.Errorf("got %d %q", status, out)
	}
}

func TestUsage(t *testing.T) {
	for _, arguments := range [][]string{{"-nonsense"}, {"stray"}, {"-exec-timeout", "soon"}} {
		if status, out, err := call(t, arguments...); status != exitUsage || out != "" || err == "" {
			t.Errorf("%v: got %d %q %q, expected %d and a message", arguments, status, out, err, exitUsage)
		}
	}
	if status, _, err := call(t, "-h"); status != 0 || !strings.Contains(err, "-exec-args") {
		t.Errorf("got %d %q, expected the flags", status, err)
	}
	if status, _, err := call(t, "-listen", "no such address"); status != exitFailure || err == "" {
		t.Errorf("got %d %q, expected %d and a message", status, err, exitFailure)
	}
}

func TestOnce(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		arguments []string
		status    int
		stage     string
	}{{[]string{"-once", "-exec", missing}, 0, "check"}, {[]string{"-once", "-start", "-exec", missing}, exitFailure, "exec"}} {
		status, out, _ := call(t, c.arguments...)
		var report onceReport
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatal(err)
		}
		if status != c.status || report.Build.GOARCH != runtime.GOARCH || len(report.Children) != 1 {
			t.Fatalf("%v: got %d %+v, expected %d", c.arguments, status, report, c.status)
		}
		if child := report.Children[0]; child.Stage != c.stage || child.Cause != "file-missing" || child.OK {
			t.Errorf("%v: got %+v, expected a missing file at %s", c.arguments, child, c.stage)
		}
	}
}

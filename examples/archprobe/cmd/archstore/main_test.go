//go:build cgo

package main

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"example.org/archprobe/internal/probe"
	"example.org/archprobe/internal/store"
)

func call(t *testing.T, in string, arguments ...string) (status int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status = run(t.Context(), arguments, streams{strings.NewReader(in), &stdout, &stderr})
	return status, stdout.String(), stderr.String()
}

func reportText(t *testing.T) string {
	t.Helper()
	body, err := json.Marshal(probe.Collect("archprobe", "1.2.3"))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestAddAndList(t *testing.T) {
	database := filepath.Join(t.TempDir(), "store.db")
	for _, want := range []string{"1\n", "2\n"} {
		if status, out, err := call(t, reportText(t), "-db", database, "add"); status != 0 || out != want {
			t.Fatalf("got %d %q %q, expected %q", status, out, err, want)
		}
	}
	status, out, err := call(t, "", "-db", database, "list")
	if status != 0 || strings.Count(out, "\n") != 3 || strings.Count(out, "archprobe 1.2.3") != 2 {
		t.Errorf("got %d %q %q, expected a header and two lines", status, out, err)
	}
	status, out, err = call(t, "", "-db", database, "list", "-json", "-goarch", "none")
	if status != 0 || out != "[]\n" {
		t.Errorf("got %d %q %q, expected an empty list", status, out, err)
	}
}

func TestVersionAndProbe(t *testing.T) {
	if status, out, err := call(t, "", "-version"); status != 0 || !strings.Contains(out, " SQLite 3.") {
		t.Errorf("got %d %q %q, expected the version of SQLite", status, out, err)
	}
	status, out, _ := call(t, "", "probe")
	var report probe.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != 0 || report.Program.Name != "archstore" {
		t.Errorf("got %d %+v, %v", status, report.Program, err)
	}
}

func TestErrors(t *testing.T) {
	database := filepath.Join(t.TempDir(), "store.db")
	for _, c := range []struct {
		in        string
		arguments []string
		status    int
	}{
		{"", []string{"-db", database}, exitUsage}, {"", []string{"-db", database, "frob"}, exitUsage},
		{"", []string{"-nonsense"}, exitUsage}, {"", []string{"-db", database, "list", "-nonsense"}, exitUsage},
		{"not JSON", []string{"-db", database, "add"}, exitFailure}, {"{}", []string{"-db", database, "add"}, exitFailure},
		{"", []string{"-db", t.TempDir(), "list"}, exitFailure},
	} {
		if status, out, err := call(t, c.in, c.arguments...); status != c.status || out != "" || err == "" {
			t.Errorf("%v: got %d %q %q, expected %d and a message", c.arguments, status, out, err, c.status)
		}
	}
}

func TestReports(t *testing.T) {
	opened, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	for _, c := range []struct {
		method, target, body string
		status               int
		part                 string
	}{
		{"POST", "/reports", reportText(t), 200, `"id": 1`},
		{"POST", "/reports", "nonsense", 400, "read the report"},
		{"POST", "/reports", `{"schema": 99}`, 422, "schema 99"},
		{"GET", "/reports", "", 200, `"version": "1.2.3"`},
		{"GET", "/reports?goarch=none", "", 200, "[]"},
		{"GET", "/reports?page-size=big", "", 400, "expected a number"},
	} {
		recorder := httptest.NewRecorder()
		handler(opened).ServeHTTP(recorder, httptest.NewRequest(c.method, c.target, strings.NewReader(c.body)))
		if recorder.Code != c.status || !strings.Contains(recorder.Body.String(), c.part) {
			t.Errorf("%s %s: got %d %s, expected %d with %q", c.method, c.target, recorder.Code, recorder.Body, c.status, c.part)
		}
	}
}

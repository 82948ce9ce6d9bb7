//go:build unix

package server

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/archprobe/internal/children"
	"example.org/archprobe/internal/probe"
)

func service(t *testing.T, arguments bool, allowed ...string) *httptest.Server {
	t.Helper()
	handler := Handler(Config{
		Collect:   func() probe.Report { return probe.Collect("archprobe", "1.2.3") },
		Children:  children.List{Allowed: allowed, Timeout: 20 * time.Second},
		Arguments: arguments,
	})
	running := httptest.NewServer(handler)
	t.Cleanup(running.Close)
	return running
}

// ask returns the status and the body, decoded into answer unless that is nil.
func ask(t *testing.T, method, address string, answer any) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer != nil {
		if err := json.Unmarshal(body, answer); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
	}
	return response.StatusCode, string(body)
}

func TestPlainEndpoints(t *testing.T) {
	running := service(t, false, "/none")
	if status, body := ask(t, "GET", running.URL+"/healthz", nil); status != 200 || body != "ok\n" {
		t.Errorf("got %d %q", status, body)
	}
	var report probe.Report
	if status, _ := ask(t, "GET", running.URL+"/arch", &report); status != 200 || report.Program.Version != "1.2.3" {
		t.Errorf("got %d %+v", status, report)
	}
	var checked []children.Outcome
	if status, _ := ask(t, "GET", running.URL+"/children", &checked); status != 200 || len(checked) != 1 || checked[0].Cause != "file-missing" {
		t.Errorf("got %d %+v, expected one missing child", status, checked)
	}
}

func TestExec(t *testing.T) {
	running := service(t, true, "/bin/sh", "/none")
	var outcome children.Outcome
	query := url.Values{"path": {"/bin/sh"}, "arg": {"-c", "echo $((6 * 7))"}}
	if status, _ := ask(t, "POST", running.URL+"/exec?"+query.Encode(), &outcome); status != 200 || !outcome.OK || outcome.Stdout != "42\n" {
		t.Errorf("got %d %+v", status, outcome)
	}
	if status, _ := ask(t, "POST", running.URL+"/exec?path=/none", &outcome); status != 200 || outcome.OK || outcome.Errno != "ENOENT" {
		t.Errorf("got %d %+v, expected ENOENT", status, outcome)
	}
	_, metrics := ask(t, "GET", running.URL+"/metrics", nil)
	for _, line := range []string{
		`archprobe_exec_attempts_total{cause="",stage="run"} 1`, `archprobe_exec_attempts_total{cause="file-missing",stage="exec"} 1`,
		`archprobe_build_info{`, `version="1.2.3"} 1`, `go_goroutines `,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("got no %q in the metrics", line)
		}
	}
}

func TestRefusals(t *testing.T) {
	running := service(t, false, "/bin/sh")
	for _, c := range []struct {
		method, query string
		status        int
	}{
		{"POST", "path=/bin/ls", 403}, {"POST", "", 403}, {"POST", "path=/bin/../bin/sh", 403},
		{"POST", "path=/bin/sh&arg=-c&arg=id", 403}, {"GET", "path=/bin/sh", 405},
	} {
		if status, body := ask(t, c.method, running.URL+"/exec?"+c.query, nil); status != c.status {
			t.Errorf("%s %s: got %d %s, expected %d", c.method, c.query, status, body, c.status)
		}
	}
}

func TestOnlySoManyAtOnce(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	waiter := filepath.Join(t.TempDir(), "waiter")
	text := "#!/bin/sh\nwhile [ ! -e " + gate + " ]; do sleep 0.05; done\n"
	if err := os.WriteFile(waiter, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	running := service(t, false, waiter)
	statuses := make(chan int)
	for range maxChildren + 1 {
		go func() {
			response, err := http.Post(running.URL+"/exec?path="+waiter, "", nil)
			if err != nil {
				statuses <- 0
				return
			}
			response.Body.Close()
			statuses <- response.StatusCode
		}()
	}
	if got := <-statuses; got != http.StatusTooManyRequests {
		t.Errorf("got %d first, expected %d", got, http.StatusTooManyRequests)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range maxChildren {
		if got := <-statuses; got != http.StatusOK {
			t.Errorf("got %d, expected %d", got, http.StatusOK)
		}
	}
}

// A request that runs when the signal comes gets its answer; after that nobody listens.
func TestGracefulShutdown(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = w.Write([]byte("late"))
	})
	ctx, stop := context.WithCancel(t.Context())
	ended, answer := make(chan error, 1), make(chan string, 1)
	go func() { ended <- Serve(ctx, listener, handler, time.Minute) }()
	go func() {
		response, err := http.Get("http://" + listener.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answer <- string(body)
	}()
	<-entered
	stop()
	select {
	case err := <-ended:
		t.Fatalf("got an end (%v) before the request was answered", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if got := <-answer; got != "late" {
		t.Errorf("got %q, expected the answer", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("got %v, expected a clean end", err)
	}
	if _, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		t.Error("got a connection, expected that nobody listens")
	}
}

// Package server is the HTTP face of archprobe.
package server

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.org/archprobe/internal/children"
	"example.org/archprobe/internal/probe"
)

// maxChildren is how many children may run at once.
const maxChildren = 4

// Config is what the service needs.
type Config struct {
	Collect  func() probe.Report
	Children children.List
	// Arguments says whether a caller may give arguments to a child.
	Arguments bool
}

type server struct {
	Config
	slots    chan struct{}
	attempts *prometheus.CounterVec
}

// Handler serves /healthz, /arch, /children, /exec and /metrics.
func Handler(config Config) http.Handler {
	s := &server{
		Config: config,
		slots:  make(chan struct{}, maxChildren),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "archprobe_exec_attempts_total", Help: "Attempts to start a child, by stage and cause of failure.",
		}, []string{"stage", "cause"}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /arch", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Collect()) })
	mux.HandleFunc("GET /children", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Children.Check()) })
	mux.HandleFunc("POST /exec", s.exec)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry(), promhttp.HandlerOpts{}))
	return mux
}

// registry holds our own counter, the runtime's and the process's figures, and what this build is.
func (s *server) registry() *prometheus.Registry {
	report := s.Collect()
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "archprobe_build_info", Help: "Always 1; the labels tell what the program was built for.",
	}, []string{"version", "goos", "goarch", "level", "emulation"})
	info.WithLabelValues(report.Program.Version, report.Build.GOOS, report.Build.GOARCH, report.Build.Level, report.Emulation.State).Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.attempts, info, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// exec answers 200 whenever an attempt was made; the body says how it went.
func (s *server) exec(w http.ResponseWriter, r *http.Request) {
	path, arguments := r.URL.Query().Get("path"), r.URL.Query()["arg"]
	switch {
	case !s.Children.Allows(path):
		refuse(w, http.StatusForbidden, "got path "+strconv.Quote(path)+", expected one that -exec names")
		return
	case len(arguments) > 0 && !s.Arguments:
		refuse(w, http.StatusForbidden, "got arguments, expected none: the service runs without -exec-args")
		return
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		refuse(w, http.StatusTooManyRequests, "got one child more, expected at most "+strconv.Itoa(maxChildren)+" at once")
		return
	}
	outcome := s.Children.Start(r.Context(), path, arguments)
	s.attempts.WithLabelValues(outcome.Stage, outcome.Cause).Inc()
	reply(w, http.StatusOK, outcome)
}

func refuse(w http.ResponseWriter, status int, why string) {
	reply(w, status, map[string]string{"error": why})
}

func reply(w http.ResponseWriter, status int, value any) {
	body, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// Serve answers on the listener until ctx ends, then lets requests finish for at most grace.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, grace time.Duration) error {
	service := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- service.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	return service.Shutdown(ending)
}

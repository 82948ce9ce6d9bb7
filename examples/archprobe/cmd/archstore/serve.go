//go:build cgo

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"example.org/archprobe/internal/server"
	"example.org/archprobe/internal/store"
)

const grace = 10 * time.Second

func serve(ctx context.Context, opened *store.Store, arguments []string, std streams) error {
	flags := flag.NewFlagSet("archstore serve", flag.ContinueOnError)
	flags.SetOutput(std.err)
	listen := flags.String("listen", "127.0.0.1:8081", "`address` to serve on")
	if err := flags.Parse(arguments); err != nil {
		return errors.Join(errUsage, err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.err, "archstore: serving on http://%s\n", listener.Addr())
	return server.Serve(ctx, listener, handler(opened), grace)
}

// handler serves GET and POST /reports.
func handler(opened *store.Store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /reports", func(w http.ResponseWriter, r *http.Request) {
		values := r.URL.Query()
		query := store.Query{GOARCH: values.Get("goarch"), Native: values.Get("native") == "true"}
		if text := values.Get("page-size"); text != "" {
			size, err := strconv.Atoi(text)
			if err != nil {
				http.Error(w, fmt.Sprintf("got page-size %q, expected a number of bytes", text), http.StatusBadRequest)
				return
			}
			query.PageSize = size
		}
		entries, err := opened.List(r.Context(), query)
		respond(w, entries, err, http.StatusInternalServerError)
	})
	mux.HandleFunc("POST /reports", func(w http.ResponseWriter, r *http.Request) {
		report, err := readReport(r.Body)
		if err != nil {
			respond(w, nil, err, http.StatusBadRequest)
			return
		}
		id, err := opened.Add(r.Context(), report, time.Now())
		respond(w, map[string]int64{"id": id}, err, http.StatusUnprocessableEntity)
	})
	return mux
}

// respond writes the value, or the error with its status.
func respond(w http.ResponseWriter, value any, err error, status int) {
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = printJSON(w, value)
}

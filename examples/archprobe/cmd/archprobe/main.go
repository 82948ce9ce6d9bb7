// Archprobe tells over HTTP what it was built for, what it runs on, and why its children do not start.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.org/archprobe/internal/children"
	"example.org/archprobe/internal/probe"
	"example.org/archprobe/internal/server"
)

// version is set by -ldflags "-X main.version=…".
var version string

const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options is the command line.
type options struct {
	listen        string
	once, version bool
	start         bool
	arguments     bool
	grace         time.Duration
	children      children.List
}

func parse(arguments []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("archprobe", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8080", "`address` to serve on")
	flags.BoolVar(&o.once, "once", false, "print the report and exit")
	flags.BoolVar(&o.start, "start", false, "with -once: start every program of -exec and report how it went; exit 1 if one failed")
	flags.BoolVar(&o.version, "version", false, "print the version and exit")
	flags.BoolVar(&o.arguments, "exec-args", false, "let callers of /exec give arguments")
	flags.DurationVar(&o.children.Timeout, "exec-timeout", 10*time.Second, "how long a child may run")
	flags.DurationVar(&o.grace, "grace", 10*time.Second, "how long requests may go on after SIGTERM")
	flags.Func("exec", "a program's `path` that /exec may start; may be repeated", func(path string) error {
		o.children.Allowed = append(o.children.Allowed, path)
		return nil
	})
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		err := fmt.Errorf("got argument %q, expected flags only", flags.Arg(0))
		fmt.Fprintln(stderr, "archprobe:", err)
		return o, err
	}
	return o, nil
}

func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	o, err := parse(arguments, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	case o.version:
		report := collect()
		fmt.Fprintf(stdout, "archprobe %s %s/%s %s\n", report.Program.Version, report.Build.GOOS, report.Build.GOARCH, report.Program.GoVersion)
		return 0
	case o.once:
		return once(ctx, o, stdout, stderr)
	}
	if err := serve(ctx, o, stderr); err != nil {
		fmt.Fprintln(stderr, "archprobe:", err)
		return exitFailure
	}
	return 0
}

func collect() probe.Report { return probe.Collect("archprobe", version) }

// onceReport is the report with the children in it.
type onceReport struct {
	probe.Report
	Children []children.Outcome `json:"children,omitempty"`
}

func once(ctx context.Context, o options, stdout, stderr io.Writer) int {
	report := onceReport{collect(), o.children.Check()}
	status := 0
	if o.start {
		for i, checked := range report.Children {
			report.Children[i] = o.children.Start(ctx, checked.Path, nil)
			if !report.Children[i].OK {
				status = exitFailure
			}
		}
	}
	encoder := json.NewEncoder(stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(report); err != nil {
		fmt.Fprintln(stderr, "archprobe:", err)
		return exitFailure
	}
	return status
}

func serve(ctx context.Context, o options, stderr io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "archprobe: serving on http://%s\n", listener.Addr())
	handler := server.Handler(server.Config{Collect: collect, Children: o.children, Arguments: o.arguments})
	return server.Serve(ctx, listener, handler, o.grace)
}

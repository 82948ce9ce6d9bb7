//go:build cgo

// Archstore keeps the reports of archprobe in a SQLite database and answers questions about them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"example.org/archprobe/internal/probe"
	"example.org/archprobe/internal/store"
)

// version is set by -ldflags "-X main.version=…".
var version string

const (
	exitFailure = 1
	exitUsage   = 2
	// maxReport is the largest report that is read, in bytes.
	maxReport = 1 << 20
)

const usage = `Usage: archstore [-db FILE] COMMAND [flags]

  add    store a report from standard input, as archprobe -once prints it
  list   print the stored reports
  probe  print this program's own report
  serve  answer GET /reports and POST /reports over HTTP

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

type streams struct {
	in       io.Reader
	out, err io.Writer
}

// errUsage marks errors of the command line.
var errUsage = errors.New("usage")

func run(ctx context.Context, arguments []string, std streams) int {
	flags := flag.NewFlagSet("archstore", flag.ContinueOnError)
	flags.SetOutput(std.err)
	flags.Usage = func() { fmt.Fprint(std.err, usage); flags.PrintDefaults() }
	database := flags.String("db", "archprobe.db", "database `file`; created if missing")
	showVersion := flags.Bool("version", false, "print the versions and exit")
	if err := flags.Parse(arguments); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	err := dispatch(ctx, *database, *showVersion, flags.Args(), std)
	if err == nil {
		return 0
	}
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(std.err, "archstore:", err)
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFailure
}

func dispatch(ctx context.Context, database string, showVersion bool, arguments []string, std streams) error {
	switch {
	case showVersion:
		database = ":memory:"
	case len(arguments) == 0:
		return fmt.Errorf("%w: got no command, expected add, list, probe or serve", errUsage)
	case arguments[0] == "probe":
		return printJSON(std.out, probe.Collect("archstore", version))
	}
	opened, err := store.Open(ctx, database)
	if err != nil {
		return err
	}
	defer opened.Close()
	if showVersion {
		return printVersion(ctx, opened, std.out)
	}
	switch command, rest := arguments[0], arguments[1:]; command {
	case "add":
		return add(ctx, opened, std)
	case "list":
		return list(ctx, opened, rest, std)
	case "serve":
		return serve(ctx, opened, rest, std)
	default:
		return fmt.Errorf("%w: got command %q, expected add, list, probe or serve", errUsage, command)
	}
}

func printVersion(ctx context.Context, opened *store.Store, out io.Writer) error {
	sqlite, err := opened.SQLiteVersion(ctx)
	if err != nil {
		return err
	}
	report := probe.Collect("archstore", version)
	_, err = fmt.Fprintf(out, "archstore %s %s/%s %s SQLite %s\n", report.Program.Version,
		report.Build.GOOS, report.Build.GOARCH, report.Program.GoVersion, sqlite)
	return err
}

func add(ctx context.Context, opened *store.Store, std streams) error {
	report, err := readReport(std.in)
	if err != nil {
		return err
	}
	id, err := opened.Add(ctx, report, time.Now())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, id)
	return err
}

func readReport(in io.Reader) (probe.Report, error) {
	var report probe.Report
	if err := json.NewDecoder(io.LimitReader(in, maxReport)).Decode(&report); err != nil {
		return report, fmt.Errorf("read the report: %w", err)
	}
	return report, nil
}

func list(ctx context.Context, opened *store.Store, arguments []string, std streams) error {
	var query store.Query
	flags := flag.NewFlagSet("archstore list", flag.ContinueOnError)
	flags.SetOutput(std.err)
	flags.StringVar(&query.GOARCH, "goarch", "", "only reports of this `architecture`")
	flags.IntVar(&query.PageSize, "page-size", 0, "only reports of kernels with pages of so many `bytes`")
	flags.BoolVar(&query.Native, "native", false, "only reports that saw no emulator")
	asJSON := flags.Bool("json", false, "print whole reports as JSON")
	if err := flags.Parse(arguments); err != nil {
		return errors.Join(errUsage, err)
	}
	entries, err := opened.List(ctx, query)
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(std.out, entries)
	}
	return printTable(std.out, entries)
}

func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func printTable(out io.Writer, entries []store.Entry) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tADDED\tHOST\tPROGRAM\tTARGET\tLEVEL\tMACHINE\tPAGE\tLIBC\tEMULATION")
	for _, entry := range entries {
		r := entry.Body
		fmt.Fprintf(table, "%d\t%s\t%s\t%s %s\t%s/%s\t%s\t%s\t%d\t%s\t%s\n", entry.ID, entry.Added.Format(time.RFC3339),
			r.System.Hostname, r.Program.Name, r.Program.Version, r.Build.GOOS, r.Build.GOARCH, r.Build.Level,
			r.System.Machine, r.System.PageSize, r.Libc.Kind, r.Emulation.State)
	}
	return table.Flush()
}

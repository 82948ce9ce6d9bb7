// Package children starts programs from a fixed list and tells precisely how it went.
package children

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"example.org/execguard"
)

// Stages of an Outcome beyond those of execguard.
const (
	// StageLoad is the dynamic loader: the program was started, its main function never ran.
	StageLoad = "load"
	// StageRun is the program itself.
	StageRun = "run"
)

const maxOutput = 64 << 10

// Outcome is how one attempt went. Started is true once execve succeeded.
type Outcome struct {
	Path        string   `json:"path"`
	Arguments   []string `json:"arguments"`
	Started     bool     `json:"started"`
	OK          bool     `json:"ok"`
	Stage       string   `json:"stage"`
	Errno       string   `json:"errno,omitempty"`
	Cause       string   `json:"cause,omitempty"`
	Culprit     string   `json:"culprit,omitempty"`
	Detail      string   `json:"detail,omitempty"`
	Explanation string   `json:"explanation,omitempty"`
	Fix         string   `json:"fix,omitempty"`
	Error       string   `json:"error,omitempty"`
	// Machine is what an ELF program was built for, whether or not it ran.
	Machine  string `json:"machine,omitempty"`
	ExitCode *int   `json:"exit_code,omitempty"`
	Signal   string `json:"signal,omitempty"`
	Stdout   string `json:"stdout,omitempty"`
	Stderr   string `json:"stderr,omitempty"`
	// Milliseconds from the attempt to the end of the program.
	Milliseconds int64 `json:"milliseconds"`
}

// List is the programs that may be started, and how long one may run.
type List struct {
	Allowed []string
	Timeout time.Duration
}

// Allows reports whether path is on the list, letter by letter.
func (l List) Allows(path string) bool { return slices.Contains(l.Allowed, path) }

// Check judges every program on the list without starting any.
func (l List) Check() []Outcome {
	outcomes := make([]Outcome, 0, len(l.Allowed))
	for _, path := range l.Allowed {
		outcome := newOutcome(path, nil, string(execguard.StageCheck))
		outcome.fail(execguard.Check(path))
		outcomes = append(outcomes, outcome)
	}
	return outcomes
}

// Start runs one program of the list to its end. Its standard input is empty.
func (l List) Start(ctx context.Context, path string, arguments []string) Outcome {
	outcome := newOutcome(path, arguments, StageRun)
	if !l.Allows(path) {
		outcome.fail(fs.ErrPermission)
		return outcome
	}
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	var stdout, stderr limited
	command := execguard.CommandContext(ctx, path, arguments...)
	command.Stdout, command.Stderr, command.WaitDelay = &stdout, &stderr, time.Second
	begin := time.Now()
	err := command.Run()
	outcome.Milliseconds = time.Since(begin).Milliseconds()
	outcome.Started = command.Process != nil
	outcome.Stdout, outcome.Stderr = stdout.String(), stderr.String()
	outcome.exited(command.ProcessState)
	outcome.fail(err)
	if outcome.Started && !outcome.OK {
		outcome.afterStart(ctx.Err())
	}
	return outcome
}

func newOutcome(path string, arguments []string, stage string) Outcome {
	machine, _ := execguard.Machine(path)
	if arguments == nil {
		arguments = []string{}
	}
	return Outcome{Path: path, Arguments: arguments, Stage: stage, Machine: machine}
}

// fail fills in what an error says; nil means success.
func (o *Outcome) fail(err error) {
	o.OK = err == nil
	if err == nil {
		return
	}
	o.Error = err.Error()
	var failure *execguard.Error
	if !errors.As(err, &failure) {
		return
	}
	o.Stage, o.Errno, o.Cause = string(failure.Stage), failure.Errno, string(failure.Cause)
	o.Culprit, o.Detail = failure.Culprit, failure.Detail
	o.Explanation, o.Fix = failure.Explanation(), failure.Fix()
}

// exited records the exit code or, on Unix, the signal.
func (o *Outcome) exited(state *os.ProcessState) {
	if state == nil {
		return
	}
	if code := state.ExitCode(); code >= 0 {
		o.ExitCode = &code
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		o.Signal = status.Signal().String()
	}
}

// limited keeps the first 64 KiB and swallows the rest, so that a child neither blocks nor fills memory.
type limited struct{ buffer bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.buffer.Len(); room > 0 {
		l.buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (l *limited) String() string { return l.buffer.String() }

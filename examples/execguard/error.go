package execguard

import "strings"

// Stage is the step at which a start failed.
type Stage string

const (
	// StageLookup is the search of PATH.
	StageLookup Stage = "lookup"
	// StageCheck is [Check]: nothing was started.
	StageCheck Stage = "check"
	// StageChdir is the change to Cmd.Dir.
	StageChdir Stage = "chdir"
	// StageExec is fork and execve.
	StageExec Stage = "exec"
)

// Error is a start that failed, or would fail. Get it with errors.As.
type Error struct {
	// Path is the program as it was asked for.
	Path string
	// Culprit is the file at fault: Path itself, its loader, or the interpreter of a script.
	Culprit string
	// Stage is where it failed.
	Stage Stage
	// Cause is the slug of the reason.
	Cause Cause
	// Errno is the name of the errno, such as "ENOEXEC". It is empty where there is none: a program
	// that would start and then die, or a system without errno names.
	Errno string
	// Detail is what was seen in this case, such as "got AArch64, expected x86-64". May be empty.
	Detail string
	// Err is the original error; for StageCheck the error that execve would return.
	Err error
}

// Error says what, why, and what the system said.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString("cannot start " + e.Path + ": " + e.Explanation())
	if e.Culprit != "" && e.Culprit != e.Path {
		text.WriteString(": " + e.Culprit)
	}
	if e.Detail != "" {
		text.WriteString(" (" + e.Detail + ")")
	}
	if e.Err != nil {
		text.WriteString(": " + e.Err.Error())
	}
	return text.String()
}

// Unwrap returns the original error.
func (e *Error) Unwrap() error { return e.Err }

// Explanation says what the cause means.
func (e *Error) Explanation() string { return e.Cause.Explanation() }

// Fix says what to do about it.
func (e *Error) Fix() string { return e.Cause.Fix() }

// verdict is what an inspection found. The zero verdict has nothing against the file.
type verdict struct {
	cause   Cause
	culprit string
	detail  string
	// err is the error execve returns. With a cause and no err the program starts and then fails.
	err error
	// compat is set where the kernel may lack support for the file's 32-bit machine.
	compat string
}

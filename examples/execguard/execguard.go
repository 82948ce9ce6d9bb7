package execguard

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// Cmd is an exec.Cmd whose failures to start are explained.
type Cmd struct{ *exec.Cmd }

// Command is exec.Command with explained failures.
func Command(name string, arg ...string) *Cmd { return &Cmd{exec.Command(name, arg...)} }

// CommandContext is exec.CommandContext with explained failures.
func CommandContext(ctx context.Context, name string, arg ...string) *Cmd {
	return &Cmd{exec.CommandContext(ctx, name, arg...)}
}

// Start is exec.Cmd.Start.
func (c *Cmd) Start() error { return Explain(c.Cmd, c.Cmd.Start()) }

// Run is exec.Cmd.Run.
func (c *Cmd) Run() error { return Explain(c.Cmd, c.Cmd.Run()) }

// Output is exec.Cmd.Output.
func (c *Cmd) Output() ([]byte, error) {
	out, err := c.Cmd.Output()
	return out, Explain(c.Cmd, err)
}

// CombinedOutput is exec.Cmd.CombinedOutput.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	out, err := c.Cmd.CombinedOutput()
	return out, Explain(c.Cmd, err)
}

// Explain wraps the error of a command that did not start in an [*Error]. Every other error, an
// *exec.ExitError for one, comes back as it is.
func Explain(cmd *exec.Cmd, err error) error {
	var done *Error
	if err == nil || cmd.Process != nil || errors.As(err, &done) {
		return err
	}
	var lookup *exec.Error
	if errors.As(err, &lookup) {
		return explainLookup(lookup.Name, err)
	}
	var path *fs.PathError
	if !errors.As(err, &path) {
		return err
	}
	if path.Op == "chdir" {
		return newError(cmd.Path, StageChdir, verdict{cause: WorkingDirectory, culprit: path.Path, err: err}, path.Err)
	}
	return newError(cmd.Path, StageExec, explainExec(located(cmd), err, path.Err), path.Err)
}

// located is the program's path as the child would see it: a relative one is taken from Cmd.Dir.
func located(cmd *exec.Cmd) string {
	if cmd.Dir == "" || filepath.IsAbs(cmd.Path) {
		return cmd.Path
	}
	return filepath.Join(cmd.Dir, cmd.Path)
}

// explainExec prefers what the file shows, if that leads to the errno seen; else the errno speaks.
func explainExec(path string, err, errno error) verdict {
	seen := inspect(path)
	switch {
	case seen.cause != "" && seen.err != nil && errors.Is(errno, seen.err):
	case causeOf(errno) != Unknown:
		seen = verdict{cause: causeOf(errno), culprit: path}
	case seen.compat != "" && isFormatError(errno):
		seen = verdict{cause: WrongMachine, culprit: path, detail: seen.compat}
	case isFormatError(errno):
		seen = verdict{cause: UnknownFormat, culprit: path}
	default:
		seen = verdict{cause: Unknown, culprit: path}
	}
	seen.err = err
	return seen
}

// LookPath is exec.LookPath followed by [Check]. With an error from Check it returns the path too, so
// that a caller may decide otherwise; an error without a path means that nothing was found.
//
// A file that stands first in PATH and would not execute is an error, not a reason to go on to the
// next directory: os/exec would choose it too.
func LookPath(file string) (string, error) {
	path, err := exec.LookPath(file)
	if err != nil {
		return path, explainLookup(file, err)
	}
	return path, Check(path)
}

// Check says whether the kernel would execute the file, without starting it. It returns nil or an
// [*Error]. Nil means that nothing speaks against the file; a library may still be missing.
//
// A file for another machine passes where binfmt_misc has an emulator for it, as it would start;
// use [Machine] to learn what it was built for.
func Check(path string) error {
	seen := inspect(path)
	if seen.cause == "" {
		return nil
	}
	return newError(path, StageCheck, seen, seen.err)
}

func newError(path string, stage Stage, seen verdict, errno error) *Error {
	return &Error{
		Path: path, Culprit: seen.culprit, Stage: stage, Cause: seen.cause,
		Errno: ErrnoName(errno), Detail: seen.detail, Err: seen.err,
	}
}

// explainLookup names what stood in the way in PATH: often the file is there without its x bit.
func explainLookup(name string, err error) error {
	seen := verdict{cause: NotInPath, culprit: name, err: err}
	if errors.Is(err, exec.ErrDot) {
		seen.cause = RelativeInPath
		return newError(name, StageLookup, seen, nil)
	}
	if filepath.Base(name) != name {
		if found := inspect(name); found.cause != "" {
			errno := found.err
			found.err = err
			return newError(name, StageLookup, found, errno)
		}
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		candidate := filepath.Join(dir, name)
		if info, statErr := os.Stat(candidate); statErr == nil && info.Mode().IsRegular() {
			seen.cause, seen.culprit = NotExecutable, candidate
			break
		}
	}
	return newError(name, StageLookup, seen, nil)
}

package execguard

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// maxRewrites is how often exec_binprm lets an interpreter stand for a file before ELOOP.
	maxRewrites = 5
	// mountNoExec is ST_NOEXEC of statfs(2).
	mountNoExec = 0x8
	// accessEffective is AT_EACCESS: judge by the effective user, as execve does.
	accessEffective = 0x200
	accessExecute   = 1
)

// inspector holds what is asked of this host once for a chain of interpreters.
type inspector struct {
	host    host
	formats []format
}

// inspect says what execve would say about path, from the file alone.
func inspect(path string) verdict {
	i := inspector{host: thisHost(), formats: registeredFormats(binfmtDirectory)}
	return i.examine(path, filepath.Base(path), 0)
}

// examine follows the order of execve: path, permission, mount, then the handlers of formats.
// name is what binfmt_misc takes the extension from.
func (i inspector) examine(path, name string, depth int) verdict {
	if seen := reach(path); seen.cause != "" {
		return seen
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return verdict{cause: Unreadable, culprit: path, err: errnoOf(err)}
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return verdict{cause: Unreadable, culprit: path, err: errnoOf(err)}
	}
	head := make([]byte, scriptHead)
	n, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return verdict{cause: Unreadable, culprit: path, err: errnoOf(err)}
	}
	if depth > maxRewrites {
		return verdict{cause: ScriptNesting, culprit: path, err: syscall.ELOOP}
	}
	if entry, ok := matchFormat(i.formats, head, name); ok {
		return i.emulator(entry, depth)
	}
	switch {
	case string(head[:2]) == "#!":
		return i.script(path, head[:n], depth)
	case isELF(head):
		return i.binary(file, path, head, min(info.Size(), maxFileSize))
	}
	return verdict{cause: foreignFormat(head[:n]), culprit: path, detail: describe(head[:n]), err: syscall.ENOEXEC}
}

// maxFileSize keeps offsets inside what ReadAt takes.
const maxFileSize = 1<<63 - 1

// reach judges the path: existence, kind, permission, mount.
func reach(path string) verdict {
	info, err := os.Stat(path)
	if err != nil {
		return unreachable(path, errnoOf(err))
	}
	if !info.Mode().IsRegular() {
		return verdict{cause: NotRegular, culprit: path, detail: kindOf(info.Mode()), err: syscall.EACCES}
	}
	var mount syscall.Statfs_t
	if syscall.Statfs(path, &mount) == nil && mount.Flags&mountNoExec != 0 {
		return verdict{cause: NoExecMount, culprit: path, err: syscall.EACCES}
	}
	if syscall.Faccessat(atWorkingDirectory, path, accessExecute, accessEffective) != nil {
		return verdict{cause: NotExecutable, culprit: path, detail: "mode " + info.Mode().Perm().String(), err: syscall.EACCES}
	}
	return verdict{}
}

// atWorkingDirectory is AT_FDCWD.
const atWorkingDirectory = -0x64

func unreachable(path string, errno error) verdict {
	seen := verdict{cause: causeOf(errno), culprit: path, err: errno}
	switch {
	case errors.Is(errno, syscall.ENOENT):
		seen.cause = FileMissing
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			seen.cause = DanglingSymlink
			if target, err := os.Readlink(path); err == nil {
				seen.detail = "leads to " + target
			}
		}
	case errors.Is(errno, syscall.EACCES):
		seen.cause = NoPermission
	}
	return seen
}

// script follows load_script: a bad line is ENOEXEC, a bad interpreter speaks for itself.
func (i inspector) script(path string, head []byte, depth int) verdict {
	line, err := parseShebang(head)
	if err != nil {
		return verdict{cause: BadShebang, culprit: path, detail: err.Error(), err: syscall.ENOEXEC}
	}
	if line.interpreter == "" {
		return verdict{cause: BadShebang, culprit: path, detail: "the name is empty", err: syscall.EACCES}
	}
	seen := i.examine(line.interpreter, filepath.Base(line.interpreter), depth+1)
	missing := seen.cause == FileMissing || seen.cause == DanglingSymlink
	switch {
	case missing && strings.HasSuffix(line.interpreter, "\r"):
		return verdict{cause: CRLFShebang, culprit: path, detail: quoted(line.interpreter), err: seen.err}
	case missing && seen.culprit == line.interpreter:
		return verdict{cause: ScriptInterpreterMissing, culprit: line.interpreter, err: seen.err}
	case seen.cause == "" && strings.HasSuffix(line.argument, "\r"):
		return verdict{cause: CRLFShebang, culprit: path, detail: quoted(line.argument)}
	}
	return seen
}

// binary follows load_elf_binary up to the point of no return.
func (i inspector) binary(file io.ReaderAt, path string, head []byte, size int64) verdict {
	as, compat, err := i.host.layoutFor(head)
	if err != nil {
		if size < 20 {
			return verdict{cause: Truncated, culprit: path, detail: "shorter than an ELF header", err: syscall.ENOEXEC}
		}
		return verdict{cause: WrongMachine, culprit: path, detail: err.Error(), err: syscall.ENOEXEC}
	}
	found, err := readProgram(file, head, size, as)
	if err != nil {
		return badHeaders(path, err, size)
	}
	switch {
	case found.dynamic && found.interpreter == "":
		// The empty name leads to the working directory, which is no regular file.
		return verdict{cause: BadProgramHeaders, culprit: path, detail: "the name of the loader is empty", err: syscall.EACCES}
	case found.dynamic:
		if seen := i.loader(found.interpreter); seen.cause != "" {
			return seen
		}
	}
	if found.cut {
		return verdict{cause: Truncated, culprit: path, detail: errLoadEnd.Error() + "; it starts and then dies"}
	}
	return verdict{compat: compat}
}

func badHeaders(path string, err error, size int64) verdict {
	seen := verdict{cause: BadProgramHeaders, culprit: path, detail: err.Error(), err: syscall.ENOEXEC}
	switch {
	case errors.Is(err, errNotLinked):
		seen.cause, seen.detail = NotLinked, ""
	case errors.Is(err, errInterpEnd):
		seen.cause, seen.err = Truncated, syscall.EIO
	case errors.Is(err, errInterpWhere):
		seen.err = syscall.EINVAL // rw_verify_area refuses the read
	case errors.Is(err, errTableEnd) || size < 64:
		seen.cause = Truncated
	}
	return seen
}

// loader judges the file that PT_INTERP names: ELIBBAD unless it is ELF for this machine.
func (i inspector) loader(path string) verdict {
	seen := reach(path)
	switch seen.cause {
	case "":
	case FileMissing, DanglingSymlink:
		seen.cause = LoaderMissing
		return seen
	default:
		return seen
	}
	file, err := os.Open(path)
	if err != nil {
		return verdict{} // The kernel needs no read permission here: nothing speaks against it.
	}
	defer file.Close()
	head := make([]byte, 64)
	if n, _ := io.ReadFull(file, head); n < len(head) {
		return verdict{cause: LoaderInvalid, culprit: path, detail: "shorter than an ELF header", err: syscall.EIO}
	}
	bad := verdict{cause: LoaderInvalid, culprit: path, err: syscall.ELIBBAD}
	if !isELF(head) {
		bad.detail = "not an ELF file"
		return bad
	}
	as, _, err := i.host.layoutFor(head)
	if err != nil {
		bad.detail = err.Error()
		return bad
	}
	info, err := file.Stat()
	if err != nil {
		return verdict{}
	}
	if _, err := readTable(file, head, info.Size(), as); err != nil {
		bad.detail = err.Error()
		return bad
	}
	return verdict{}
}

// kindOf names what a path that is no regular file leads to.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

func quoted(name string) string {
	return "the name is " + string(bytes.ReplaceAll([]byte(name), []byte("\r"), []byte(`\r`)))
}

//go:build unix && !linux

package execguard

import (
	"errors"
	"syscall"
)

var errFormat error = syscall.ENOEXEC

var errnos = map[syscall.Errno]struct {
	name  string
	cause Cause
}{
	syscall.E2BIG: {"E2BIG", ArgumentsTooLong}, syscall.EACCES: {"EACCES", NotExecutable},
	syscall.EAGAIN: {"EAGAIN", ProcessLimit}, syscall.EIO: {"EIO", Unreadable},
	syscall.ELOOP: {"ELOOP", SymlinkLoop}, syscall.EMFILE: {"EMFILE", FileLimit},
	syscall.ENAMETOOLONG: {"ENAMETOOLONG", NameTooLong}, syscall.ENFILE: {"ENFILE", FileLimit},
	syscall.ENOENT: {"ENOENT", FileMissing}, syscall.ENOEXEC: {"ENOEXEC", Unknown},
	syscall.ENOMEM: {"ENOMEM", OutOfMemory}, syscall.ENOTDIR: {"ENOTDIR", NotADirectory},
	syscall.EPERM: {"EPERM", Forbidden}, syscall.ETXTBSY: {"ETXTBSY", Busy},
}

// causeOf is the cause that an errno has whatever the file, or Unknown.
func causeOf(err error) Cause {
	if known, ok := errnos[errnoOf(err)]; ok {
		return known.cause
	}
	return Unknown
}

// ErrnoName is the symbolic name of the errno inside err, such as "ENOEXEC", or an empty string.
func ErrnoName(err error) string { return errnos[errnoOf(err)].name }

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	errors.As(err, &errno)
	return errno
}

func isFormatError(err error) bool { return errors.Is(err, syscall.ENOEXEC) }

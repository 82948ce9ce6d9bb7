package execguard

import (
	"errors"
	"io/fs"
	"syscall"
)

// System error codes (winerror.h) that CreateProcess returns.
const (
	errorBadFormat       syscall.Errno = 193 // ERROR_BAD_EXE_FORMAT
	errorNameTooLong     syscall.Errno = 206 // ERROR_FILENAME_EXCED_RANGE: the command line too
	errorMachineMismatch syscall.Errno = 216 // ERROR_EXE_MACHINE_TYPE_MISMATCH
	errorSharing         syscall.Errno = 32  // ERROR_SHARING_VIOLATION
	errorElevation       syscall.Errno = 740 // ERROR_ELEVATION_REQUIRED
)

var errFormat error = errorBadFormat

var causes = map[syscall.Errno]Cause{
	errorNameTooLong: ArgumentsTooLong, errorMachineMismatch: WrongMachine, errorSharing: Busy, errorElevation: Forbidden,
}

// causeOf is the cause that an error code has whatever the file, or Unknown.
func causeOf(err error) Cause {
	var code syscall.Errno
	errors.As(err, &code)
	if known, ok := causes[code]; ok {
		return known
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return FileMissing
	case errors.Is(err, fs.ErrPermission):
		return NotExecutable
	}
	return Unknown
}

// ErrnoName is empty: this system has no errno names.
func ErrnoName(error) string { return "" }

func isFormatError(err error) bool { return errors.Is(err, errorBadFormat) }

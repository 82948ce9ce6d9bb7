//go:build !unix && !windows

package execguard

import (
	"errors"
	"io/fs"
)

var errFormat = errors.New("the file is not a program of this system")

// causeOf reads the portable meanings of an error.
func causeOf(err error) Cause {
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

func isFormatError(error) bool { return false }

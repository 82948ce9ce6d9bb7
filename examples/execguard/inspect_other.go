//go:build !linux

package execguard

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
)

// inspect knows less outside Linux: whether the file is there, regular, and of the system's format.
// It never refuses for the machine, since macOS and Windows translate other machines on their own.
func inspect(path string) verdict {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return verdict{cause: FileMissing, culprit: path, err: cause(err)}
	case errors.Is(err, fs.ErrPermission):
		return verdict{cause: NoPermission, culprit: path, err: cause(err)}
	case err != nil:
		return verdict{cause: causeOf(cause(err)), culprit: path, err: cause(err)}
	case !info.Mode().IsRegular():
		return verdict{cause: NotRegular, culprit: path, err: fs.ErrPermission}
	case runtime.GOOS != "windows" && info.Mode()&0o111 == 0:
		return verdict{cause: NotExecutable, culprit: path, detail: "mode " + info.Mode().Perm().String(), err: fs.ErrPermission}
	}
	return inspectFormat(path)
}

func inspectFormat(path string) verdict {
	file, err := os.Open(path)
	if err != nil {
		return verdict{cause: Unreadable, culprit: path, err: cause(err)}
	}
	defer file.Close()
	head := make([]byte, scriptHead)
	n, err := io.ReadFull(file, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return verdict{cause: Unreadable, culprit: path, err: cause(err)}
	}
	head = head[:n]
	if n == 0 {
		return verdict{cause: EmptyFile, culprit: path, err: errFormat}
	}
	if foreign(head) {
		return verdict{cause: WrongSystem, culprit: path, detail: describe(head), err: errFormat}
	}
	return verdict{}
}

// foreign reports a program that surely belongs to another system.
func foreign(head []byte) bool {
	switch runtime.GOOS {
	case "windows":
		return isELF(head) || isMachO(head)
	case "darwin", "ios":
		return isELF(head) || isPE(head)
	}
	return isPE(head) || isMachO(head)
}

// cause takes the error of the system out of a PathError.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// Machine names what an ELF file was built for, such as "AArch64", whether or not this host runs it.
// It returns an empty string for a file that is not ELF.
func Machine(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return readMachine(file)
}

package execguard

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// readMachine names the machine of an ELF file, or returns an empty string for any other.
func readMachine(r io.ReaderAt) (string, error) {
	head := make([]byte, 20)
	if n, err := r.ReadAt(head, 0); n < len(head) || !isELF(head) {
		if err == io.EOF {
			err = nil
		}
		return "", err
	}
	return machineName(head), nil
}

// foreignFormat is the cause for a file that is neither ELF nor has a #! line.
func foreignFormat(head []byte) Cause {
	switch {
	case len(head) == 0:
		return EmptyFile
	case isPE(head) || isMachO(head):
		return WrongSystem
	case isText(head):
		return NoShebang
	}
	return UnknownFormat
}

// describe says what the first bytes look like.
func describe(head []byte) string {
	switch {
	case len(head) == 0:
		return ""
	case isELF(head):
		return "an ELF file for " + machineName(head)
	case isPE(head):
		return "a Windows program"
	case isMachO(head):
		return "a macOS program"
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf#!")):
		return "a byte order mark stands before the #! line"
	case bytes.HasPrefix(head, []byte("!<arch>\n")):
		return "an ar archive"
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return "a gzip file"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return "a zip archive"
	case bytes.HasPrefix(head, []byte("\x00asm")):
		return "a WebAssembly module"
	case bytes.HasPrefix(head, []byte("version https://git-lfs")):
		return "a Git LFS pointer in place of the file"
	case isText(head):
		return "text"
	}
	return "unknown bytes"
}

func isPE(head []byte) bool { return bytes.HasPrefix(head, []byte("MZ")) }

// isMachO knows thin and universal files in both byte orders.
func isMachO(head []byte) bool {
	for _, magic := range []string{"\xfe\xed\xfa\xce", "\xfe\xed\xfa\xcf", "\xce\xfa\xed\xfe", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	return false
}

// isText reports bytes without NUL that are UTF-8 but for a last character that may be cut.
func isText(head []byte) bool {
	if bytes.IndexByte(head, 0) >= 0 {
		return false
	}
	for cut := 0; cut < utf8.UTFMax && cut < len(head); cut++ {
		if utf8.Valid(head[:len(head)-cut]) {
			return true
		}
	}
	return false
}

package execguard

import (
	"bytes"
	"errors"
	"strconv"
)

// scriptHead is BINPRM_BUF_SIZE: the kernel looks at no more of a script than this, in bytes.
const scriptHead = 256

var errShebang = errors.New("no interpreter in the first 255 bytes")

// shebang is the first line of a script as load_script in fs/binfmt_script.c takes it.
type shebang struct {
	interpreter, argument string
	// hasArgument tells an empty argument from none: bytes that the kernel takes for an argument may
	// begin with NUL.
	hasArgument bool
}

// parseShebang reads a #! line. head is the start of the file without padding; as the kernel does,
// it is cut or zero-padded to 256 bytes.
func parseShebang(head []byte) (shebang, error) {
	var buffer [scriptHead]byte
	copy(buffer[:], head)
	text, err := shebangLine(buffer[:])
	if err != nil {
		return shebang{}, err
	}
	text = bytes.Trim(text, " \t")
	if len(text) == 0 {
		return shebang{}, errShebang
	}
	name, rest := text, []byte(nil)
	if end := bytes.IndexAny(text, " \t\x00"); end >= 0 {
		name, rest = text[:end], text[end:]
	}
	line := shebang{interpreter: string(name)}
	if len(rest) > 0 && rest[0] != 0 {
		line.argument, line.hasArgument = cString(bytes.TrimLeft(rest, " \t")), true
	}
	return line, nil
}

// shebangLine is what stands between #! and the end of the line, or of the buffer. Without a newline
// the name must end inside the buffer, for it might be cut.
func shebangLine(buffer []byte) ([]byte, error) {
	if end := bytes.IndexByte(buffer, '\n'); end >= 0 {
		return buffer[2:max(end, 2)], nil
	}
	name := bytes.TrimLeft(buffer[2:], " \t")
	if len(name) == 0 || bytes.IndexAny(name, " \t\x00") < 0 {
		return nil, errShebang
	}
	return buffer[2 : len(buffer)-1], nil // the last byte only serves as the end
}

// cString is what a C program would see of the bytes.
func cString(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return string(b)
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

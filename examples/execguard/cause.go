package execguard

// Cause is a stable slug that names why a program does not start.
type Cause string

// The causes. Every one has an explanation and a remedy.
const (
	FileMissing              Cause = "file-missing"
	DanglingSymlink          Cause = "dangling-symlink"
	NotADirectory            Cause = "not-a-directory"
	SymlinkLoop              Cause = "symlink-loop"
	NameTooLong              Cause = "name-too-long"
	NotInPath                Cause = "not-in-path"
	RelativeInPath           Cause = "relative-in-path"
	WorkingDirectory         Cause = "working-directory"
	NotRegular               Cause = "not-a-regular-file"
	NotExecutable            Cause = "not-executable"
	NoPermission             Cause = "no-permission"
	NoExecMount              Cause = "noexec-mount"
	Unreadable               Cause = "unreadable"
	EmptyFile                Cause = "empty-file"
	Truncated                Cause = "truncated"
	WrongMachine             Cause = "wrong-machine"
	WrongSystem              Cause = "wrong-system"
	NotLinked                Cause = "not-linked"
	BadProgramHeaders        Cause = "bad-program-headers"
	UnknownFormat            Cause = "unknown-format"
	NoShebang                Cause = "no-shebang"
	BadShebang               Cause = "bad-shebang"
	CRLFShebang              Cause = "crlf-shebang"
	ScriptInterpreterMissing Cause = "script-interpreter-missing"
	ScriptNesting            Cause = "script-nesting"
	LoaderMissing            Cause = "loader-missing"
	LoaderInvalid            Cause = "loader-invalid"
	EmulatorMissing          Cause = "emulator-missing"
	Busy                     Cause = "busy"
	ArgumentsTooLong         Cause = "arguments-too-long"
	ProcessLimit             Cause = "process-limit"
	OutOfMemory              Cause = "out-of-memory"
	FileLimit                Cause = "file-limit"
	Forbidden                Cause = "forbidden"
	Unknown                  Cause = "unknown"
)

// meaning is what a reader is told about a cause.
type meaning struct{ explanation, fix string }

var meanings = map[Cause]meaning{
	FileMissing:              {"the file does not exist", "install it, or correct the path"},
	DanglingSymlink:          {"the path is a symbolic link to a file that does not exist", "install the link's target, or correct the link"},
	NotADirectory:            {"a component of the path is a file, not a directory", "correct the path"},
	SymlinkLoop:              {"the symbolic links of the path go round in a circle", "correct the links"},
	NameTooLong:              {"the path, or a component of it, is longer than the system allows", "use a shorter path"},
	NotInPath:                {"no directory of PATH holds an executable of this name", "install the program, extend PATH, or give the full path"},
	RelativeInPath:           {"PATH leads to the current directory, which os/exec refuses", "give ./NAME or the full path"},
	WorkingDirectory:         {"the directory in which the program was to start cannot be entered", "create it, or correct Cmd.Dir"},
	NotRegular:               {"the path leads to something other than a regular file", "name the program itself"},
	NotExecutable:            {"no permission bit allows this user to execute the file", "chmod +x; keep the mode when copying or unpacking"},
	NoPermission:             {"a directory on the way to the file may not be searched by this user", "grant the x permission on the directories of the path"},
	NoExecMount:              {"the file lies on a file system that is mounted noexec", "move the file, or remount without noexec"},
	Unreadable:               {"the file cannot be read, so nothing is known about it", "grant read permission, or repair the storage"},
	EmptyFile:                {"the file is empty", "copy it again and compare checksums"},
	Truncated:                {"the file ends before what its headers promise", "copy it again and compare checksums"},
	WrongMachine:             {"the file was built for another machine than this kernel runs", "install the build for this machine"},
	WrongSystem:              {"the file is a program for another operating system", "install the build for this system"},
	NotLinked:                {"the file is an object file or a core dump, not a linked program", "link it"},
	BadProgramHeaders:        {"the program headers of the file are invalid", "rebuild the file"},
	UnknownFormat:            {"the file is in no format that this kernel executes", "name the program itself"},
	NoShebang:                {"the file is text without a #! line; a shell would run it, the kernel does not", "add a #! line as the very first bytes"},
	BadShebang:               {"the #! line names no interpreter, or is too long for the kernel", "name the interpreter within the first 255 bytes"},
	CRLFShebang:              {"the #! line ends in CR LF, and the CR is taken as part of the name", "convert the script to LF line ends"},
	ScriptInterpreterMissing: {"the interpreter that the #! line names does not exist", "install it, or correct the #! line"},
	ScriptNesting:            {"too many scripts are interpreters of one another", "name a binary interpreter"},
	LoaderMissing:            {"the loader that the program asks for does not exist on this system", "install the matching C library, or link statically"},
	LoaderInvalid:            {"the loader that the program asks for is no loader for this machine", "install the C library of this machine"},
	EmulatorMissing:          {"the emulator registered for this kind of file does not exist", "install it, or register it with the F flag"},
	Busy:                     {"the file is open for writing", "close it first; write to a temporary name and rename"},
	ArgumentsTooLong:         {"the arguments and the environment are larger than the kernel allows", "pass them in a file"},
	ProcessLimit:             {"the limit on processes is reached", "raise RLIMIT_NPROC or the cgroup's pids.max"},
	OutOfMemory:              {"there is not enough memory to start a process", "raise the memory limit"},
	FileLimit:                {"the limit on open files is reached", "close files, or raise RLIMIT_NOFILE"},
	Forbidden:                {"a security policy forbids it (seccomp, a security module, or the credentials asked for)", "read the audit log; adjust the policy"},
	Unknown:                  {"the system refused, and the file shows no reason", "look at the wrapped error"},
}

// Explanation says in one sentence what the cause means.
func (c Cause) Explanation() string { return meanings[c].explanation }

// Fix says in one sentence what to do about it.
func (c Cause) Fix() string { return meanings[c].fix }

// Causes returns every cause, in no particular order.
func Causes() []Cause {
	all := make([]Cause, 0, len(meanings))
	for cause := range meanings {
		all = append(all, cause)
	}
	return all
}

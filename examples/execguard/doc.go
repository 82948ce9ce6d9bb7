// Package execguard says why a program does not start.
//
// os/exec hands back the errno of execve(2), and one errno has many causes: "no such file or
// directory" may mean that the program is missing, or its ELF loader, or the interpreter of a script,
// or that the script was saved with Windows line ends. execguard reads the file as the kernel would
// and names the cause:
//
//	err := execguard.Command("/opt/tools/convert", "in.png").Run()
//	var failure *execguard.Error
//	if errors.As(err, &failure) && failure.Cause == execguard.WrongMachine {
//		log.Fatalf("%s (%s)", failure, failure.Fix())
//	}
//
// The typed error wraps the original one, so errors.Is(err, syscall.ENOEXEC) and
// errors.Is(err, fs.ErrNotExist) go on working.
//
// [Check] answers before anything is started, and [LookPath] is exec.LookPath followed by Check:
// exec.LookPath looks at the name and the x bit alone and passes a file built for another machine.
//
// Linux is predicted in full (fs/exec.c, fs/binfmt_elf.c, fs/binfmt_script.c and fs/binfmt_misc.c of
// Linux 6.12). Elsewhere causes come from the error and from the kind of file. The package needs
// nothing but the standard library, reads a bounded number of bytes of a file, and is safe for
// concurrent use.
package execguard

"""The catalogue of root causes: the preflight's slugs, and those that only running programs meet.

A row's texts are the lower three of the four levels of evidence where nothing more exact was seen, what would
settle an open question, and the fix. Sources: fs/exec.c, fs/binfmt_elf.c, fs/binfmt_script.c, glibc's elf/, musl's
ldso/, mm/oom_kill.c; docs/preflight.md says how the preflight decides each.
"""

from __future__ import annotations

from dataclasses import dataclass

EXPLAIN = "buildmatrix explain --root ROOT --host HOST PROGRAM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One root cause. `scope` is what shares it: ``program``, ``image``, or ``host``."""

    slug: str
    title: str
    call: str
    field: str
    ability: str
    fix: str
    settle: str = EXPLAIN
    scope: str = "program"
    by_object: bool = False
    """Whether another library is another cause."""


def _c(slug: str, title: str, call: str, field: str, ability: str, fix: str, *, settle: str = EXPLAIN,
       scope: str = "program", by_object: bool = False) -> Cause:  # fmt: skip
    return Cause(slug=slug, title=title, call=call, field=field, ability=ability, fix=fix, settle=settle, scope=scope,
                 by_object=by_object)  # fmt: skip


_ROWS = (
    # execve
    _c("wrong-machine", "built for another architecture", "execve: every binfmt handler refuses it (ENOEXEC)",
       "e_machine of the ELF header", "the CPU's instruction set", "build and deploy the target of this architecture; "
       "correct GOARCH, or the image's platform", settle="buildmatrix scan PROGRAM (e_machine) and uname -m",
       scope="host"),
    _c("wrong-endian", "built for the other byte order", "execve: ENOEXEC", "e_machine, read in the host's byte order",
       "the CPU's byte order", "build for the little-endian variant of the architecture"),
    _c("compat32-unavailable", "a 32-bit program on a kernel without 32-bit support", "execve: ENOEXEC",
       "EI_CLASS and e_machine", "CONFIG_COMPAT, and 32-bit EL0 of the CPU", "build for 64 bits", scope="host"),
    _c("unknown-format", "no executable format that the kernel knows", "execve: ENOEXEC", "the first bytes",
       "the kernel's binfmt handlers", "put the program there, not an archive, an empty file or a pointer to it; "
       "scripts need #! in their first two bytes", settle="head -c 64 PROGRAM | xxd"),
    _c("wrong-elf-type", "an ELF file that is no program", "execve: ENOEXEC", "e_type", "the kernel's ELF handler",
       "link it: what was deployed is an object file or a core"),
    _c("bad-elf", "an ELF file whose headers contradict themselves", "execve: ENOEXEC, or SIGSEGV past the point of no "
       "return", "program headers", "the kernel's ELF handler", "build it again; leave ELF editors alone"),
    _c("truncated", "a file that ends too early", "execve or the first touch of a page past its end (SIGBUS)",
       "p_offset + p_filesz against the file's size", "the memory mapping's last page", "copy it again and compare "
       "digests (sha256sum against checksums.txt)", settle="sha256sum PROGRAM against dist/checksums.txt"),
    _c("page-size", "segments that do not fit the kernel's pages", "execve (SIGSEGV without a message) or the loader's "
       "mmap", "p_vaddr - p_offset modulo the page size of each LOAD", "the kernel's page size (getconf PAGESIZE)",
       "link with -Wl,-z,max-page-size=65536", settle="getconf PAGESIZE, and " + EXPLAIN, scope="host"),
    _c("missing-interpreter", "the loader or script interpreter is not there", "execve: ENOENT from open_exec of the "
       "interpreter", "PT_INTERP, or the #! line", "what the root file system holds", "link statically, or use a base "
       "image with that interpreter"),
    _c("wrong-libc", "built for another C library", "execve: ENOENT for its loader, or relocation", "PT_INTERP and "
       "the symbol versions", "glibc or musl in the root", "build for the root's C library, or statically",
       scope="image"),
    _c("bad-interpreter", "the loader is there and cannot be used", "execve: ELIBBAD, EIO or EACCES from the "
       "interpreter", "the interpreter's own ELF header and mode", "the root's loader", "install the loader again, for "
       "the program's architecture", scope="image"),
    _c("bad-shebang", "a #! line that names nothing", "execve of the script's interpreter", "the first line, byte by "
       "byte: carriage return, BOM, more than one word behind env", "fs/binfmt_script.c", "dos2unix; or env -S; one "
       "absolute path", settle="head -1 SCRIPT | xxd"),
    _c("bad-script", "a script that its shell does not understand", "the shell's parser", "the script's text", "the "
       "shell (bash, dash and busybox differ)", "run it with the shell that it was written for; where the file is no "
       "script, see wrong-machine", settle="file PROGRAM"),
    _c("wrong-os", "built for another operating system", "execve, or the first system calls", "notes, PT_INTERP and "
       "entry code of another OS", "Linux's system calls", "build with GOOS=linux"),
    _c("missing-file", "no such program", "path look-up: ENOENT, ENOTDIR", "the path itself",
       "what the root file system holds", "copy the program there, or correct the path",
       settle="ls -l PROGRAM in the same root"),
    _c("not-a-file", "a directory or device in a program's place", "execve: EACCES (bash: Is a directory)",
       "the file's type", "fs/exec.c accepts regular files only", "name the file inside it"),
    _c("symlink-loop", "too many symbolic links", "path look-up: ELOOP", "the links", "at most 40 links (fs/namei.c)",
       "break the loop"),
    _c("no-exec-permission", "no execute permission", "execve: EACCES", "the mode bits of file and folders",
       "the process's user and groups", "chmod +x; keep modes in COPY, tar and ADD", settle="ls -l PROGRAM; namei -l"),
    _c("no-read-permission", "a script or library that may not be read", "open: EACCES", "the mode bits",
       "the process's user and groups", "chmod +r", settle="ls -l; namei -l"),
    _c("noexec-mount", "on a file system mounted noexec", "execve: EACCES, or mmap with PROT_EXEC: EPERM",
       "the mount's flags", "the mount", "mount it without noexec, or keep programs elsewhere",
       settle="findmnt -T PROGRAM", scope="host"),
    _c("text-busy", "still open for writing", "execve: ETXTBSY", "the inode's writers", "i_writecount of the kernel",
       "close the file before it is started; write to a new name and rename"),
    _c("argument-list-too-long", "arguments or environment too large", "execve: E2BIG", "argv and envp",
       "128 KiB an argument, a quarter of the stack limit in all", "pass a file, or less environment"),
    _c("security-policy", "a security module forbids it", "execve or mmap: EACCES, EPERM", "labels and profiles",
       "SELinux, AppArmor or fapolicyd", "label the file, or allow it in the profile",
       settle="ausearch -m avc,apparmor; dmesg", scope="image"),
    _c("seccomp", "a seccomp filter answers the call", "the filtered call: ENOSYS, EPERM or SIGSYS",
       "the system call's number", "the container's seccomp profile", "allow the call in the profile, or renew the "
       "engine: old ones refuse new calls", settle="strace -f PROGRAM with and without seccomp=unconfined",
       scope="host"),
    _c("kernel-too-old", "a system call or feature that this kernel lacks", "the call: ENOSYS; the loader's own check",
       "the call's number, NT_GNU_ABI_TAG", "the kernel's version", "a newer kernel, or an older C library",
       settle="uname -r", scope="host"),
    _c("emulator-gap", "the emulator does not do what was asked for", "qemu's system call table", "the call's number",
       "qemu-user's version", "run it on a machine of that architecture: this is no proof about the program",
       settle="the same on real hardware", scope="host"),
    # the loader
    _c("missing-library", "a library that is not there", "the loader's search (ld.so: dl-load.c)", "DT_NEEDED",
       "what the root file system holds", "ship the library in a directory that the loader searches", by_object=True,
       settle=EXPLAIN + " --tree"),
    _c("stale-ldcache", "ld.so.cache does not agree with the disk", "the loader's look-up in /etc/ld.so.cache",
       "the cache's entry", "the root's ld.so.cache", "run ldconfig in the root after the last library came",
       by_object=True, settle="buildmatrix ldcache ROOT"),
    _c("wrong-library-arch", "a library of another architecture", "the loader passes it over, or maps it (musl)",
       "e_machine and EI_CLASS of the library", "the program's architecture", "install the library for the program's "
       "architecture", by_object=True),
    _c("bad-library", "a library that cannot be used", "the loader's checks (dl-load.c open_verify)", "the library's "
       "ELF header and segments", "the loader", "install it again; a linker script or stub is no library",
       by_object=True),
    _c("origin-without-proc", "$ORIGIN has no value without /proc", "readlink of /proc/self/exe", "DT_RUNPATH with "
       "$ORIGIN", "whether /proc is mounted", "mount /proc, or write an absolute RUNPATH", scope="image"),
    _c("secure-exec", "search paths are ignored under AT_SECURE", "the loader's secure mode", "set-user-ID bits, file "
       "capabilities", "AT_SECURE", "an absolute RUNPATH, or a system directory"),
    _c("glibc-too-old", "built against a newer glibc than the root's", "the loader's version check (dl-version.c)",
       "DT_VERNEED against DT_VERDEF of libc.so.6", "the root's glibc version", "build with an older glibc as floor "
       "(libc-floor), or ship a newer base image", scope="host"),
    _c("libstdcxx-too-old", "built against a newer libstdc++ than the root's", "the loader's version check",
       "DT_VERNEED: GLIBCXX_, CXXABI_", "the root's libstdc++", "ship the compiler's libstdc++, link it statically, or "
       "use a newer base image", scope="host"),
    _c("symbol-version-missing", "a library without the version that was linked against", "the loader's version check",
       "DT_VERNEED against DT_VERDEF", "the library's version", "ship the version that it was built with",
       by_object=True),
    _c("missing-symbol", "a symbol that no library defines", "relocation (dl-lookup.c; musl: find_sym)", "an undefined "
       "symbol of .dynsym", "the libraries' versions", "ship the versions that it was built with"),
    _c("libc-mismatch", "loader and libc of different builds", "the loader's first calls into libc", "GLIBC_PRIVATE "
       "symbols", "ld.so and libc.so.6 belong together", "take both from one package; no LD_LIBRARY_PATH to another "
       "glibc", scope="image"),
    _c("musl-too-old", "needs a newer musl", "relocation: DT_RELR is skipped", "DT_RELR", "musl 1.2.4 and later",
       "link with -Wl,-z,nopack-relative-relocs, or use a newer musl", scope="image"),
    _c("isa-level", "built for a newer CPU", "the loader's or runtime's level check, or the first such instruction "
       "(SIGILL)", "GNU_PROPERTY ISA_1_NEEDED, GOAMD64, GOARM64, or the instruction itself", "the CPU's features",
       "build for the level of the oldest CPU", settle="/proc/cpuinfo, and " + EXPLAIN, scope="host"),
    _c("execstack-refused", "asks for an executable stack", "dlopen: mprotect of the stack", "PT_GNU_STACK with PF_X",
       "glibc from 2.41 on, or a policy", "link with -z noexecstack", by_object=True),
    # at run time
    _c("missing-data", "a data file that the root lacks", "open in the program", "paths that its code names",
       "what the root file system holds", "copy /usr/share/zoneinfo, CA certificates, /etc/resolv.conf or /etc/passwd "
       "into the image; or embed them (time/tzdata)", scope="image"),
    _c("untrusted-peer", "the peer's certificate is not trusted", "TLS handshake", "the certificate's issuer",
       "the roots that this host trusts", "add the issuer to the trusted roots", settle="openssl s_client -connect",
       scope="host"),
    _c("resolver-down", "the resolver does not answer", "connect to port 53", "/etc/resolv.conf", "the resolver",
       "start it, or name another", settle="cat /etc/resolv.conf in the container", scope="host"),
    _c("oom-killed", "killed for want of memory", "the kernel's OOM killer: SIGKILL (mm/oom_kill.c)",
       "memory.max of the cgroup, or all of the host's memory", "memory", "raise the limit, or use less: GOMEMLIMIT "
       "below the cgroup's limit", settle="dmesg; memory.events of the cgroup; the pod's lastState"),
    _c("out-of-memory", "no memory to go on with", "fork, mmap: ENOMEM", "the request's size", "memory and overcommit",
       "raise limits (ulimit -v, cgroup), or use less", settle="/proc/meminfo, ulimit -a", scope="host"),
    _c("process-limit", "no more processes or threads allowed", "clone: EAGAIN", "RLIMIT_NPROC, pids.max, threads-max",
       "limits", "raise pids.max or ulimit -u, or leak fewer", settle="pids.events of the cgroup; ulimit -u",
       scope="host"),
    _c("file-limit", "no more open files allowed", "open: EMFILE, ENFILE", "RLIMIT_NOFILE, file-max", "limits",
       "raise ulimit -n, or close files", settle="ls /proc/PID/fd | wc -l", scope="host"),
    _c("disk-full", "no space left", "write, or a touch of a sparse mapping: ENOSPC, SIGBUS", "the file system's free "
       "blocks", "the disk", "make room", settle="df; df -i", scope="host"),
    _c("io-error", "the disk does not give the file", "read: EIO", "blocks of the file", "the disk", "replace it; "
       "restore the file", settle="dmesg", scope="host"),
    _c("read-only-root", "a file system that cannot be written", "open or write: EROFS", "the mount's flags",
       "the mount", "mount a writable volume there", scope="image"),
    _c("image-platform-missing", "the image index has no such platform", "the engine's choice of a manifest",
       "platform of the index's entries", "the host's platform", "build and push the missing platform", scope="image",
       settle="buildmatrix inspect REFERENCE"),
    _c("crash", "the program's own fault", "a fault in its own code", "the instruction at the fault", "none: any "
       "machine would do", "debug it: the files around it are well", settle="a core dump or the runtime's trace; where "
       "it never ran, " + EXPLAIN),
    _c("killed", "somebody sent it a signal", "kill(2)", "none", "none", "find out who: supervisors, liveness probes, "
       "people", settle="audit of kill(2); the pod's events; dmesg without an OOM report"),
)  # fmt: skip

CATALOGUE: dict[str, Cause] = {row.slug: row for row in _ROWS}

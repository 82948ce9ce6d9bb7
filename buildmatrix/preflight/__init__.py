"""Say, without running it, whether a file will execute on a target, and why not.

The model follows the Linux kernel (fs/namei.c, fs/exec.c, fs/binfmt_script.c, fs/binfmt_elf.c,
fs/binfmt_misc.c) up to the first instruction, then glibc's ld.so or musl's, then what the bytes say
of the program's own start. Where bytes cannot decide, a verdict says so instead of guessing.
"""

/*
 * executor.c: executes files for real, one a line, and says what the kernel or the loader did.
 *
 * Purpose.    `executor ROOT UID GID` enters ROOT for good, then reads lines from stdin: a path, and after
 *             tabs the strings of the environment. Each path is executed by a traced child of that user,
 *             which is stopped at its first instruction, made to execute exactly that one, and killed. So no
 *             byte of a mutant runs further than one instruction.
 *             `executor ROOT UID GID load STATE DEBUG` lets the dynamic loader work instead, up to the moment
 *             when it is done and would call initialisers: a breakpoint at offset STATE of the loader, where
 *             it tells debuggers about its link maps. DEBUG is the offset of glibc's _r_debug, whose r_state
 *             must be RT_CONSISTENT then; 0 where the first call is the last (musl).
 * Output.     One line for each path: "E n" execve failed with errno n; "K n" signal n before the first
 *             instruction; "S n" stopped by signal n after it (5: it ran). With "load": "L" the loader is
 *             done, "X n" it exited with n, "D n" it got signal n; behind it what was printed, lines parted
 *             by a vertical bar.
 * Limits.     400 ms of processor time (SIGPROF ends a loader that never ends), 16 GiB of data, 64
 *             processes, no core and no file; output past 4 KiB is cut off.
 * Ownership.  Children are reaped before the next path is read. Nothing is written but stdout.
 * Threads.    None.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_WORDS 64
#define AT_BASE 7

static char said[4096];

/* Becomes the file at words[0] with the environment behind it; errno goes to `report`. */
static void child(char **words, int report, int output) {
    struct rlimit none = {0, 0}, data = {16UL << 30, 16UL << 30}, processes = {64, 64};
    struct itimerval time = {{0, 0}, {0, 400000}};
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_FSIZE, &none);
    setrlimit(RLIMIT_DATA, &data);
    setrlimit(RLIMIT_NPROC, &processes);
    setitimer(ITIMER_PROF, &time, NULL);
    char *argv[] = {words[0], NULL};
    dup2(output, 1);
    dup2(output, 2);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        _exit(98);
    }
    execve(words[0], argv, words + 1);
    int error = errno;
    if (write(report, &error, sizeof error) != sizeof error) {
        _exit(97);
    }
    _exit(96);
}

static long peek(pid_t pid, unsigned long address) {
    errno = 0;
    return ptrace(PTRACE_PEEKDATA, pid, (void *)address, NULL);
}

/* Where the kernel mapped the interpreter: AT_BASE, behind argv and the environment; 0 where there is none. */
static unsigned long loader_base(pid_t pid) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid, NULL, &registers) != 0) {
        return 0;
    }
    unsigned long at = registers.rsp + 8 * ((unsigned long)peek(pid, registers.rsp) + 2);
    while (peek(pid, at) != 0 && errno == 0) {
        at += 8;
    }
    for (at += 8; errno == 0; at += 16) {
        long tag = peek(pid, at);
        if (tag == 0) {
            break;
        }
        if (tag == AT_BASE) {
            return (unsigned long)peek(pid, at + 8);
        }
    }
    return 0;
}

/* A loader that was stopped at the breakpoint: returns 1 where it is done, else lets it return to its caller. */
static int is_done(pid_t pid, unsigned long state, unsigned long debug) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid, NULL, &registers) != 0 || registers.rip != state + 1) {
        return -1;
    }
    if (debug == 0 || (int)peek(pid, debug + 24) == 0) {
        return 1;
    }
    registers.rip = (unsigned long)peek(pid, registers.rsp);
    registers.rsp += 8;
    ptrace(PTRACE_SETREGS, pid, NULL, &registers);
    return 0;
}

static void put_output(int output) {
    ssize_t length = read(output, said, sizeof said - 1);
    said[length > 0 ? length : 0] = 0;
    for (char *at = said; *at; at++) {
        *at = *at == '\n' ? '|' : *at == '\r' ? '?' : *at;
    }
    puts(said);
}

/* The child stands at its first instruction: let the loader work. */
static void load(pid_t pid, unsigned long state, unsigned long debug, int output) {
    int status, signal_number = 0;
    unsigned long base = loader_base(pid);
    if (base == 0) { /* no interpreter: there is nothing to load */
        puts("L 0 ");
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        return;
    }
    ptrace(PTRACE_POKETEXT, pid, (void *)(base + state), (void *)((peek(pid, base + state) & ~0xffL) | 0xcc));
    ptrace(PTRACE_CONT, pid, NULL, NULL);
    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
        signal_number = WSTOPSIG(status);
        int done = signal_number == SIGTRAP ? is_done(pid, base + state, debug ? base + debug : 0) : -1;
        if (done != 0) {
            printf(done == 1 ? "L 0 " : "D %d ", signal_number);
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            put_output(output);
            return;
        }
        ptrace(PTRACE_CONT, pid, NULL, NULL);
    }
    printf(WIFEXITED(status) ? "X %d " : "D %d ", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    put_output(output);
}

static void step(pid_t pid) {
    int status;
    ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
    if (waitpid(pid, &status, 0) == pid) {
        printf("S %d\n", WIFSTOPPED(status) ? WSTOPSIG(status) : WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
}

static void execute(char **words, const unsigned long *loader) {
    int report[2], output[2], error, status;
    if (pipe2(report, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC | O_NONBLOCK) != 0) {
        exit(95);
    }
    pid_t pid = fork();
    if (pid == 0) {
        child(words, report[1], output[1]);
    }
    close(report[1]);
    if (waitpid(pid, &status, 0) != pid) {
        exit(93);
    }
    if (WIFEXITED(status)) {
        printf("E %d\n", read(report[0], &error, sizeof error) == sizeof error ? error : -1);
    } else if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
        printf("K %d\n", WIFSTOPPED(status) ? WSTOPSIG(status) : WTERMSIG(status));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    } else if (loader != NULL) {
        load(pid, loader[0], loader[1], output[0]);
    } else {
        step(pid);
    }
    close(report[0]);
    close(output[0]);
    close(output[1]);
    fflush(stdout);
}

int main(int argc, char **argv) {
    static char line[1 << 16];
    if (argc < 4 || chroot(argv[1]) != 0 || chdir("/") != 0 || setgroups(0, NULL) != 0 ||
        setgid((gid_t)atoi(argv[3])) != 0 || setuid((uid_t)atoi(argv[2])) != 0) {
        perror("executor");
        return 94;
    }
    unsigned long loader[2] = {0, 0};
    int loading = argc > 6 && strcmp(argv[4], "load") == 0;
    if (loading) {
        loader[0] = strtoul(argv[5], NULL, 0);
        loader[1] = strtoul(argv[6], NULL, 0);
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *words[MOST_WORDS + 1], *rest = line;
        size_t count = 0;
        line[strcspn(line, "\n")] = 0;
        for (char *word; count < MOST_WORDS && (word = strsep(&rest, "\t")) != NULL; count++) {
            words[count] = word;
        }
        words[count] = NULL;
        execute(words, loading ? loader : NULL);
    }
    return 0;
}

/*
 * executor.c: executes files for real, one a line, and says what the kernel did.
 *
 * Purpose.    `executor ROOT UID GID` enters ROOT for good, then reads paths from stdin, one a line. Each is
 *             executed by a traced child of that user, which is stopped at its first instruction, made to
 *             execute exactly that one, and killed. So no byte of a mutant runs further than one instruction.
 *             With a fourth argument "run" the child is let go instead, for at most five seconds.
 * Output.     One line for each path: "E n" execve failed with errno n; "K n" signal n before the first
 *             instruction; "S n" stopped by signal n after it (5: it ran); with "run": "X n" exit status,
 *             "D n" death by signal, "T" out of time, and behind it what it printed, lines parted by |.
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char said[512];

static void child(const char *path, int report, int run, int errors) {
    struct rlimit none = {0, 0}, seconds = {2, 2}, processes = {64, 64};
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_FSIZE, &none);
    setrlimit(RLIMIT_CPU, &seconds);
    setrlimit(RLIMIT_NPROC, &processes);
    char *argv[] = {(char *)path, NULL};
    char *envp[] = {NULL};
    if (run) {
        dup2(errors, 2);
        dup2(errors, 1);
    }
    if (!run && ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        _exit(98);
    }
    execve(path, argv, envp);
    int error = errno;
    if (write(report, &error, sizeof error) != sizeof error) {
        _exit(97);
    }
    _exit(96);
}

static void told(pid_t pid, int status) {
    if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP) {
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
        if (waitpid(pid, &status, 0) == pid) {
            printf("S %d\n", WIFSTOPPED(status) ? WSTOPSIG(status) : WIFSIGNALED(status) ? WTERMSIG(status) : 0);
        }
    } else {
        printf("K %d\n", WIFSTOPPED(status) ? WSTOPSIG(status) : WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
}

static void finish(pid_t pid, int errors) {
    int status;
    for (int tick = 0; tick < 5000; tick++) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            printf(WIFEXITED(status) ? "X %d" : "D %d", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
            ssize_t length = read(errors, said, sizeof said - 1);
            said[length > 0 ? length : 0] = 0;
            for (char *at = said; *at; at++) {
                *at = *at == '\n' ? '|' : *at;
            }
            printf(" %s\n", said);
            return;
        }
        struct timespec pause = {0, tick < 50 ? 200000 : 1000000};
        nanosleep(&pause, NULL);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    puts("T");
}

static void execute(const char *path, int run) {
    int report[2], errors[2], error, status;
    if (pipe2(report, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC | O_NONBLOCK) != 0) {
        exit(95);
    }
    pid_t pid = fork();
    if (pid == 0) {
        child(path, report[1], run, errors[1]);
    }
    close(report[1]);
    if (run) {
        if (read(report[0], &error, sizeof error) == sizeof error) {
            printf("E %d\n", error);
            waitpid(pid, &status, 0);
        } else {
            finish(pid, errors[0]);
        }
    } else if (waitpid(pid, &status, 0) == pid && WIFEXITED(status)) {
        printf("E %d\n", read(report[0], &error, sizeof error) == sizeof error ? error : -1);
    } else {
        told(pid, status);
    }
    close(report[0]);
    close(errors[0]);
    close(errors[1]);
    fflush(stdout);
}

int main(int argc, char **argv) {
    static char line[1 << 16];
    if (argc < 4 || chroot(argv[1]) != 0 || chdir("/") != 0 || setgroups(0, NULL) != 0 ||
        setgid((gid_t)atoi(argv[3])) != 0 || setuid((uid_t)atoi(argv[2])) != 0) {
        perror("executor");
        return 94;
    }
    int run = argc > 4 && strcmp(argv[4], "run") == 0;
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        execute(line, run);
    }
    return 0;
}

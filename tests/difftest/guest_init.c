/*
 * guest_init.c: the first process of a virtual machine that executes files and says what its kernel did.
 *
 * Purpose.    Reads /job line by line: "module PATH" loads a kernel module, "register TEXT" gives TEXT to
 *             binfmt_misc, "noexec DIR" remounts a directory so, "run LIST" executes each path of the file
 *             LIST as user 1000 in the root /root. Each is started by a traced child, which is stopped at its
 *             first instruction, made to execute exactly that one, and killed, as executor.c does natively.
 * Output.     On the first serial port: "BM facts key=value…" first; for "run" a line for each path ("E n"
 *             execve failed with errno n; "K n" signal n before the first instruction; "S n" stopped by
 *             signal n after it, 5: it ran), then "BM end LIST"; "BM error TEXT" where the machine itself
 *             fails; "BM done" last. Then the power goes off.
 * Ownership.  Children are reaped before the next path is read. Nothing is written but the serial port.
 * Threads.    None.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define USER 1000
#define REGISTER "/proc/sys/fs/binfmt_misc/register"

static char line[1 << 12];

static void failed(const char *what) {
    printf("BM error %s: %s\n", what, strerror(errno));
}

static long number(const char *path) {
    FILE *stream = fopen(path, "r");
    long value = -1;
    if (stream != NULL) {
        if (fscanf(stream, "%*[^0-9]%ld", &value) != 1) {
            rewind(stream);
            if (fscanf(stream, "%ld", &value) != 1) {
                value = -1;
            }
        }
        fclose(stream);
    }
    return value;
}

/* How many bits of address user space has: the highest page that can be mapped. */
static int address_bits(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int bits = 52; bits > 30; bits--) {
        void *want = (void *)((UINT64_C(1) << bits) - page);
        void *got = mmap(want, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (got != MAP_FAILED) {
            munmap(got, page);
        }
        if (got == want || (got == MAP_FAILED && errno == EEXIST)) {
            return bits;
        }
    }
    return 0;
}

static void facts(void) {
    struct utsname name;
    uname(&name);
    int narrow = personality(PER_LINUX32) >= 0;
    personality(PER_LINUX);
    printf("BM facts release=%s page=%ld mmap_min_addr=%ld protected_symlinks=%ld memory=%ld bits=%d aarch32=%d\n",
           name.release, sysconf(_SC_PAGESIZE), number("/proc/sys/vm/mmap_min_addr"),
           number("/proc/sys/fs/protected_symlinks"), number("/proc/meminfo"), address_bits(), narrow);
}

static void child(const char *path, int report) {
    struct rlimit none = {0, 0}, seconds = {2, 2}, processes = {64, 64};
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_FSIZE, &none);
    setrlimit(RLIMIT_CPU, &seconds);
    setrlimit(RLIMIT_NPROC, &processes);
    char *argv[] = {(char *)path, NULL};
    char *envp[] = {NULL};
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        _exit(98);
    }
    execve(path, argv, envp);
    int error = errno;
    if (write(report, &error, sizeof error) != sizeof error) {
        _exit(97);
    }
    _exit(96);
}

static int ended_by(int status) {
    return WIFSTOPPED(status) ? WSTOPSIG(status) : WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void told(pid_t pid, int status) {
    char what = 'K';
    if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP) {
        what = 'S';
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
        if (waitpid(pid, &status, 0) != pid) {
            status = 0;
        }
    }
    printf("%c %d\n", what, ended_by(status));
    if (!WIFSIGNALED(status)) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
}

static void execute(const char *path) {
    int report[2], error, status;
    if (pipe2(report, O_CLOEXEC) != 0) {
        failed("pipe");
        exit(95);
    }
    pid_t pid = fork();
    if (pid < 0) {
        failed("fork");
        exit(95);
    }
    if (pid == 0) {
        child(path, report[1]);
    }
    close(report[1]);
    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status)) {
        printf("E %d\n", read(report[0], &error, sizeof error) == sizeof error ? error : -1);
    } else {
        told(pid, status);
    }
    close(report[0]);
}

static void run(const char *list) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        FILE *paths = fopen(list, "re");
        if (paths == NULL || chroot("/root") != 0 || chdir("/") != 0 || setgroups(0, NULL) != 0 ||
            setgid(USER) != 0 || setuid(USER) != 0) {
            failed(list);
            exit(94);
        }
        while (fgets(line, sizeof line, paths) != NULL) {
            line[strcspn(line, "\n")] = 0;
            execute(line);
        }
        exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    printf(status == 0 ? "BM end %s\n" : "BM error %s ended badly\n", list);
}

static void load_module(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || (syscall(SYS_finit_module, file, "", 0) != 0 && errno != EEXIST)) {
        failed(path);
    }
    close(file);
    if (access(REGISTER, F_OK) != 0 && mount("none", "/proc/sys/fs/binfmt_misc", "binfmt_misc", 0, NULL) != 0) {
        failed("binfmt_misc");
    }
}

static void enter_handler(const char *text) {
    int file = open(REGISTER, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, text, strlen(text)) != (ssize_t)strlen(text)) {
        failed(text);
    }
    close(file);
}

static void forbid(const char *directory) {
    if (mount(directory, directory, NULL, MS_BIND, NULL) != 0 ||
        mount(NULL, directory, NULL, MS_BIND | MS_REMOUNT | MS_NOEXEC, NULL) != 0) {
        failed(directory);
    }
}

static void serial_port(void) {
    int port = open("/dev/ttyAMA0", O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios mode;
    if (port >= 0 && tcgetattr(port, &mode) == 0) {
        cfmakeraw(&mode);
        tcsetattr(port, TCSANOW, &mode);
    }
    for (int fd = 0; fd < 3 && port >= 0; fd++) {
        dup2(port, fd);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
}

int main(void) {
    static char job[1 << 12];
    struct {
        const char *word;
        void (*act)(const char *);
    } verbs[] = {{"module ", load_module}, {"register ", enter_handler}, {"noexec ", forbid}, {"run ", run}};
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mount("proc", "/proc", "proc", 0, NULL);
    serial_port();
    facts();
    FILE *stream = fopen("/job", "re");
    while (stream != NULL && fgets(job, sizeof job, stream) != NULL) {
        job[strcspn(job, "\n")] = 0;
        for (size_t at = 0; at < sizeof verbs / sizeof *verbs; at++) {
            size_t length = strlen(verbs[at].word);
            if (strncmp(job, verbs[at].word, length) == 0) {
                verbs[at].act(job + length);
            }
        }
    }
    puts("BM done");
    fflush(stdout);
    tcdrain(1);
    sync();
    reboot(RB_POWER_OFF);
    return 0;
}

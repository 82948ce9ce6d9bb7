/* Stands in for every program that a script may call. It counts the calls, runs the real program, and kills the
 * whole process group, as losing power would, at the moment that STEP names: 3n before call n, 3n+1 in the middle
 * of a copy, 3n+2 after the call. It is static, so that an emulated shell can start it without binfmt_misc; the real
 * program is then run by EMULATOR.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* The number of calls before this one; each has left its name on a line. */
static long count_up(const char *path, const char *name)
{
    char text[65536], line[64];
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text);
    int length = snprintf(line, sizeof line, "%s\n", name);
    if (got < 0 || write(fd, line, (size_t)length) != length)
        exit(99);
    close(fd);
    long n = 0;
    for (ssize_t i = 0; i < got; i++)
        n += text[i] == '\n';
    return n;
}

static void die(void)
{
    kill(0, SIGKILL);
    pause();
}

static void copy_half(const char *from, const char *to)
{
    struct stat st;
    if (stat(from, &st))
        return;
    if (S_ISDIR(st.st_mode)) {
        mkdir(to, 0755);
        return;
    }
    char *bytes = malloc((size_t)st.st_size + 1);
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t got = read(in, bytes, (size_t)st.st_size / 2);
    if (got > 0 && write(out, bytes, (size_t)got) != got)
        exit(99);
}

static const char *locate(const char *name)
{
    static char path[256];
    const char *folders[] = {"/usr/bin", "/bin", "/usr/sbin", "/sbin"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", folders[i], name);
        if (access(path, X_OK) == 0)
            return path;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    char *slash = strrchr(argv[0], '/');
    char *name = slash ? slash + 1 : argv[0];
    const char *step = getenv("STEP"), *emulator = getenv("EMULATOR"), *counter = getenv("COUNTER");
    long at = step ? atol(step) : -1, n = counter ? count_up(counter, name) : -2;
    if (at == 3 * n)
        die();
    if (at == 3 * n + 1 && strcmp(name, "cp") == 0) {
        copy_half(argv[argc - 2], argv[argc - 1]);
        die();
    }
    const char *real = locate(name);
    if (!real)
        return 127;
    pid_t child = fork();
    if (child == 0) {
        char **words = calloc((size_t)argc + 4, sizeof *words);
        size_t used = 0;
        if (emulator && *emulator) {
            words[used++] = (char *)emulator;
            words[used++] = "-0";
            words[used++] = name;
            words[used++] = (char *)real;
        } else {
            words[used++] = name;
        }
        for (int i = 1; i < argc; i++)
            words[used++] = argv[i];
        execv(emulator && *emulator ? emulator : real, words);
        _exit(126);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (at == 3 * n + 2)
        die();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

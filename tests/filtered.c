/*
 * filtered.c: executes a program under a seccomp filter that denies some system calls.
 *
 * Purpose.    `filtered ACTION NUMBER[,NUMBER…] PROGRAM [ARGUMENT…]`: ACTION is an errno as a number, "kill"
 *             or "trap". The filter looks at the call's number alone and is in force before PROGRAM's execve.
 * Output.     Whatever PROGRAM prints. Where execve itself is refused, "execve N" with its errno, status 99.
 * Ownership.  None. Threads: none.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MOST 200

int main(int argc, char **argv) {
    static struct sock_filter code[2 * MOST + 2];
    unsigned short used = 0;
    if (argc < 4) {
        return 98;
    }
    unsigned int action = strcmp(argv[1], "kill") == 0   ? SECCOMP_RET_KILL_PROCESS
                          : strcmp(argv[1], "trap") == 0 ? SECCOMP_RET_TRAP
                                                         : SECCOMP_RET_ERRNO | (unsigned int)atoi(argv[1]);
    code[used++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (char *word = strtok(argv[2], ","); word != NULL && used < 2 * MOST; word = strtok(NULL, ",")) {
        code[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)atoi(word), 0, 1);
        code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
    }
    code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {used, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("filtered");
        return 98;
    }
    execv(argv[3], argv + 3);
    printf("execve %d\n", errno);
    return 99;
}

/*
 * sys.c: see sys.h.
 *
 * Purpose.    Where a long is not 64 bits wide, offsets take libc's care, and so its wrappers are used;
 *             also under ThreadSanitizer, which follows descriptors through them.
 * Ownership.  Nothing.
 * Threads.    Any.
 */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__LP64__) && !defined(__SANITIZE_THREAD__)

int bm_sys_open(int base, const char *path, int flags) { return (int)syscall(SYS_openat, base, path, flags, 0); }
ssize_t bm_sys_read(int fd, void *to, size_t size) { return syscall(SYS_read, fd, to, size); }
ssize_t bm_sys_pread(int fd, void *to, size_t size, uint64_t offset)
{
    return syscall(SYS_pread64, fd, to, size, offset);
}
int bm_sys_close(int fd) { return (int)syscall(SYS_close, fd); }

#else

int bm_sys_open(int base, const char *path, int flags) { return openat(base, path, flags); }
ssize_t bm_sys_read(int fd, void *to, size_t size) { return read(fd, to, size); }
ssize_t bm_sys_pread(int fd, void *to, size_t size, uint64_t offset) { return pread(fd, to, size, (off_t)offset); }
int bm_sys_close(int fd) { return close(fd); }

#endif

int bm_sys_fstat(int fd, struct stat *stat) { return fstat(fd, stat); }

#if defined(SYS_io_uring_setup) && defined(__LP64__)

int bm_sys_ring_setup(uint32_t entries, void *params) { return (int)syscall(SYS_io_uring_setup, entries, params); }
int bm_sys_ring_register(int fd, uint32_t operation, void *argument, uint32_t count)
{
    return (int)syscall(SYS_io_uring_register, fd, operation, argument, count);
}
int bm_sys_ring_enter(int fd, uint32_t submit, uint32_t wait)
{
    return (int)syscall(SYS_io_uring_enter, fd, submit, wait, 1u, NULL, 0);
}

#else

static int absent(void)
{
    errno = ENOSYS;
    return -1;
}
int bm_sys_ring_setup(uint32_t entries, void *params) { return (void)entries, (void)params, absent(); }
int bm_sys_ring_register(int fd, uint32_t operation, void *argument, uint32_t count)
{
    return (void)fd, (void)operation, (void)argument, (void)count, absent();
}
int bm_sys_ring_enter(int fd, uint32_t submit, uint32_t wait) { return (void)fd, (void)submit, (void)wait, absent(); }

#endif

/*
 * sys.h: the system calls that a batch makes for each file.
 *
 * Purpose.    Straight to the kernel: libc's wrappers are cancellation points, which in a process with
 *             threads cost two atomic operations a call (4 % of a walk). And one place where a test
 *             can make any of them fail (ld --wrap).
 * Errors.     As those of the calls: -1 and errno.
 */
#ifndef BM_SYS_H
#define BM_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

int bm_sys_open(int base, const char *path, int flags);
ssize_t bm_sys_read(int fd, void *to, size_t size);
ssize_t bm_sys_pread(int fd, void *to, size_t size, uint64_t offset);
int bm_sys_fstat(int fd, struct stat *stat);
int bm_sys_close(int fd);

/* io_uring_setup(2), io_uring_register(2) and io_uring_enter(2), the last with IORING_ENTER_GETEVENTS. */
int bm_sys_ring_setup(uint32_t entries, void *params);
int bm_sys_ring_register(int fd, uint32_t operation, void *argument, uint32_t count);
int bm_sys_ring_enter(int fd, uint32_t submit, uint32_t wait);

#endif

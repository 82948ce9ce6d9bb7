/*
 * scan.c: one file, from a descriptor or from memory, into a block of one record.
 *
 * Purpose.    The simple entry for callers that have one file; batches have their own.
 * Ownership.  The block goes to the caller; the window buffer lives for the call.
 * Threads.    Any number at once.
 */
#include "reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const bm_allocator ORDINARY = {NULL, NULL};

static bm_block *one_record(uint64_t size, int *error)
{
    bm_block *block = bm_block_new(1, 4096, ORDINARY);
    *error = block ? 0 : ENOMEM;
    if (!block)
        return NULL;
    bm_record *record = block->records;
    memset(record, 0, sizeof *record);
    record->path = record->target = (bm_str){BM_NONE, 0};
    record->facts = BM_NONE;
    record->kind = BM_KIND_REGULAR;
    record->size = size;
    block->count = 1;
    return block;
}

static void fill_record(bm_block *block, bm_source *source, uint32_t want, uint32_t view)
{
    bm_arena arena = {block, ORDINARY};
    bm_record *record = block->records;
    record->status = bm_read_facts(source, want, view, &arena, &record->facts);
    if (record->status == BM_STATUS_READ || record->status == BM_STATUS_SHRANK) {
        record->offset = source->error_offset;
        record->error = source->error > 0 ? (uint32_t)source->error : 0;
    } else if (record->status == BM_STATUS_MALFORMED) {
        const bm_facts *facts = bm_arena_at(&arena, record->facts);
        const bm_issue *issue = bm_arena_at(&arena, facts->issues.off);
        record->issue = issue->code;
        record->offset = issue->offset;
    }
}

BM_API bm_block *bm_scan_memory(const uint8_t *data, size_t length, uint32_t want, uint32_t view, int *error)
{
    bm_source source;
    bm_block *block = one_record(length, error);
    if (!block)
        return NULL;
    bm_source_open_memory(&source, data, length);
    fill_record(block, &source, want, view);
    return block;
}

static int64_t read_descriptor(void *context, uint64_t offset, uint8_t *destination, size_t length)
{
    ssize_t got = pread(*(const int *)context, destination, length, (off_t)offset);
    return got < 0 ? -errno : got;
}

static uint64_t nanoseconds(struct timespec time)
{
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint32_t kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return BM_KIND_REGULAR;
    case S_IFDIR: return BM_KIND_DIRECTORY;
    case S_IFLNK: return BM_KIND_SYMLINK;
    case S_IFIFO: return BM_KIND_FIFO;
    case S_IFSOCK: return BM_KIND_SOCKET;
    case S_IFCHR: return BM_KIND_CHARDEV;
    case S_IFBLK: return BM_KIND_BLOCKDEV;
    default: return BM_KIND_UNKNOWN;
    }
}

static void fill_stat(bm_record *record, const struct stat *status)
{
    record->kind = kind_of(status->st_mode);
    record->size = (uint64_t)status->st_size;
    record->mtime_ns = nanoseconds(status->st_mtim);
    record->device = (uint64_t)status->st_dev;
    record->inode = (uint64_t)status->st_ino;
    record->mode = (uint32_t)status->st_mode;
    record->uid = (uint32_t)status->st_uid;
    record->gid = (uint32_t)status->st_gid;
}

static bool changed(const struct stat *before, int fd)
{
    struct stat after;
    return fstat(fd, &after) != 0 || before->st_size != after.st_size ||
           nanoseconds(before->st_mtim) != nanoseconds(after.st_mtim) ||
           nanoseconds(before->st_ctim) != nanoseconds(after.st_ctim);
}

static void scan_regular(bm_block *block, int fd, const struct stat *before, uint32_t want, uint32_t view)
{
    bm_source source;
    bm_record *record = block->records;
    uint8_t *buffer = malloc(BM_SOURCE_BUFFER);
    if (!buffer) {
        record->status = BM_STATUS_NOMEM;
        return;
    }
    bm_source_open(&source, (uint64_t)before->st_size, read_descriptor, &fd, buffer);
    fill_record(block, &source, want, view);
    free(buffer);
    bool complete = record->status == BM_STATUS_OK || record->status == BM_STATUS_MALFORMED;
    if (complete && changed(before, fd)) {
        record->status = BM_STATUS_CHANGED;
        record->facts = BM_NONE;
    }
}

BM_API bm_block *bm_scan_fd(int fd, uint32_t want, uint32_t view, int *error)
{
    struct stat before;
    bm_block *block = one_record(0, error);
    if (!block)
        return NULL;
    bm_record *record = block->records;
    if (fstat(fd, &before) != 0) {
        record->status = BM_STATUS_STAT;
        record->error = (uint32_t)errno;
        record->kind = BM_KIND_UNKNOWN;
        return block;
    }
    fill_stat(record, &before);
    if (record->kind == BM_KIND_REGULAR)
        scan_regular(block, fd, &before, want, view);
    else
        record->status = BM_STATUS_NOT_REGULAR;
    return block;
}

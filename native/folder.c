/*
 * folder.c: the directory that neighbours in a list share.
 *
 * Purpose.    Names of a list are paths, and the kernel walks each from its first component: four look-ups
 *             in cold caches for a stat and four for an open. Where names one after the other lie in one
 *             directory, it is opened once and they are looked up below it.
 * Ownership.  The descriptor, until the next directory or bm_folder_end. The path is the batch's.
 * Threads.    None of its own; a folder lives no longer than the few names that a worker takes at a time, so
 *             that a directory which is replaced meanwhile serves those at most.
 */
#include "batch.h"

#include <fcntl.h>
#include <string.h>

#define WORTH_IT 2 /* names before an open pays */

#ifndef O_PATH
#define O_PATH O_RDONLY
#endif

void bm_folder_end(bm_folder *folder)
{
    if (folder->fd >= 0) bm_sys_close(folder->fd);
    *folder = BM_NO_FOLDER;
}

/* Opens the path's first `length` bytes; a directory that cannot be had so is left to the whole path. */
static int open_prefix(const char *path, size_t length)
{
    char prefix[1024];
    if (length >= sizeof prefix) return -1;
    memcpy(prefix, path, length);
    prefix[length] = 0;
    return bm_sys_open(AT_FDCWD, prefix, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void bm_folder_find(bm_folder *folder, bm_place *place)
{
    const char *slash = strrchr(place->name, '/');
    size_t length = slash ? (size_t)(slash - place->name) + 1 : 0;
    place->base = AT_FDCWD, place->leaf = place->name;
    if (length == 0 || place->name[length] == 0) return;
    if (length != folder->length || memcmp(folder->path, place->name, length) != 0) {
        bm_folder_end(folder);
        folder->path = place->name, folder->length = length;
    }
    if (++folder->names == WORTH_IT) folder->fd = open_prefix(place->name, length);
    if (folder->fd < 0) return;
    place->base = folder->fd, place->leaf = place->name + length;
}

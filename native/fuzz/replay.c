/*
 * replay.c: runs files through every check that the fuzz target makes, without a fuzzer.
 *
 * Purpose.    The seed corpus and whatever a fuzzer found stay part of the ordinary tests. Arguments are
 *             files; each is read as it stands, with every view.
 * Ownership.  A file is read into memory of exactly its size, so a sanitizer sees the first byte too many.
 * Threads.    None.
 */
#include "invariants.h"

#include <stdio.h>
#include <stdlib.h>

static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        return 1;
    }
    long size = ftell(file);
    rewind(file);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    if (!data || size < 0 || fread(data, 1, (size_t)size, file) != (size_t)size) {
        perror(path);
        return 1;
    }
    fclose(file);
    bm_check_file(data, (size_t)size);
    free(data);
    return 0;
}

int main(int count, char **arguments)
{
    int failed = 0;
    for (int i = 1; i < count; i++)
        failed |= replay(arguments[i]);
    printf("%d files replayed\n", count - 1);
    return failed;
}

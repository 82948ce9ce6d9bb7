/*
 * gobuildinfo.h: Go build information, wherever a format keeps it.
 *
 * Purpose.    One decoder for ELF, PE and Mach-O; each format brings its own map from addresses to bytes.
 * Ownership.  Strings are copied into the reader's arena.
 * Threads.    None of its own.
 */
#ifndef BM_GOBUILDINFO_H
#define BM_GOBUILDINFO_H

#include "reader.h"

/*
 * A format's map: where the byte at `address` lies in the file, and how many follow in the same segment.
 * False where the address has no bytes in the file.
 */
typedef struct {
    bool (*locate)(void *image, uint64_t address, uint64_t *offset, uint64_t *available);
    void *image;
} bm_address_map;

/* Bytes in which the blob may lie; `address` is that of the first, since the blob is 16-aligned there. */
typedef struct {
    uint64_t offset, size, address;
} bm_go_place;

typedef struct {
    uint8_t format; /* 0: nothing found, 1 pointers, 2 inline */
    bm_str version, modinfo;
} bm_go_info;

/*
 * Looks for the blob and decodes it. False where there is none; where there is one that cannot be
 * decoded, BM_ISSUE_BAD_BUILDINFO is noted.
 */
bool bm_go_read(bm_reader *reader, bm_address_map map, bm_go_place place, bm_go_info *info);

#endif

/*
 * load.h: loads of integers from bytes in the file's byte order.
 *
 * Purpose.    Every multi-byte field of every format is decoded here: from bytes, with no alignment and
 *             no assumption about the host, so the readers behave alike on either kind of machine.
 * Ownership.  None. The caller guarantees that the bytes are there.
 * Threads.    Pure functions.
 */
#ifndef BM_LOAD_H
#define BM_LOAD_H

#include <stdbool.h>
#include <stdint.h>

static inline uint16_t bm_load16(const uint8_t *p, bool big)
{
    return (uint16_t)(big ? p[0] << 8 | p[1] : p[1] << 8 | p[0]);
}

static inline uint32_t bm_load32(const uint8_t *p, bool big)
{
    return big ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]
               : (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static inline uint64_t bm_load64(const uint8_t *p, bool big)
{
    uint64_t first = bm_load32(p, big), second = bm_load32(p + 4, big);
    return big ? first << 32 | second : second << 32 | first;
}

/* A word of the file's class: 8 bytes where `wide`, else 4. */
static inline uint64_t bm_load_word(const uint8_t *p, bool wide, bool big)
{
    return wide ? bm_load64(p, big) : bm_load32(p, big);
}

#endif

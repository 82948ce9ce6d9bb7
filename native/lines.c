/*
 * lines.c: the lines of a text that hold one of many literals.
 *
 * Purpose.    Logs are read for a hundred messages at once, and nearly no line has one. An automaton
 *             (Aho and Corasick, Communications of the ACM 18, 1975) looks at every byte once, however
 *             many literals there are; a substring search for each would look at it a hundred times.
 * Ownership.  Table, text and results are the caller's. Nothing is allocated.
 * Threads.    No state is kept; any number of threads may share a table.
 */
#include "bm.h"

#include <string.h>

bool bm_lines_table(const uint16_t *table, size_t states)
{
    if (states == 0 || states > UINT16_MAX) return false;
    for (size_t i = 0; i < states * 256; i++)
        if (table[i] >= states) return false;
    return true;
}

size_t bm_lines(const uint16_t *table, uint16_t accepting, const uint8_t *text, size_t length, size_t *at,
                size_t *spans, size_t capacity)
{
    size_t found = 0, begin = *at, i = *at;
    uint16_t state = 0;
    while (i < length && found < capacity) {
        uint8_t byte = text[i++];
        state = table[(size_t)state * 256 + byte];
        if (byte == '\n') begin = i;
        if (state < accepting) continue;
        const uint8_t *newline = memchr(text + i, '\n', length - i);
        size_t end = newline ? (size_t)(newline - text) : length;
        spans[2 * found] = begin;
        spans[2 * found + 1] = end;
        found++;
        i = begin = newline ? end + 1 : length;
        state = 0;
    }
    *at = begin;
    return found;
}

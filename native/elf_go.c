/*
 * elf_go.c: where an ELF file keeps its Go build information.
 *
 * Purpose.    The section .go.buildinfo where there are section headers, else the first LOAD that is
 *             writable and not executable, all of it: the linker puts the blob into the data segment, but
 *             not always near its start (Go debug/buildinfo, elfExe.DataStart).
 * Ownership.  Borrows the reader.
 * Threads.    None of its own.
 */
#include "elf.h"
#include "gobuildinfo.h"

static bool locate(void *image, uint64_t address, uint64_t *offset, uint64_t *available)
{
    return bm_elf_locate(image, address, offset, available);
}

static bool data_segment(const bm_elf *elf, bm_go_place *place)
{
    const bm_segment *segment = bm_elf_segments(elf);
    for (uint32_t i = 0; i < elf->facts->segments.count; i++, segment++) {
        if (segment->type != PT_LOAD || !segment->filesz || (segment->flags & (PF_W | PF_X)) != PF_W)
            continue;
        *place = (bm_go_place){segment->offset, segment->filesz, segment->vaddr};
        return true;
    }
    return false;
}

void bm_elf_read_go(bm_elf *elf)
{
    bm_address_map map = {locate, elf};
    bm_go_place place = {elf->go_section.offset, elf->go_section.size, elf->go_address};
    bm_go_info info;
    bool found = elf->go_section.present && bm_go_read(elf->reader, map, place, &info);
    if (!found && data_segment(elf, &place))
        found = bm_go_read(elf->reader, map, place, &info);
    if (!found)
        return;
    elf->facts->go_format = info.format;
    elf->facts->go_version = info.version;
    elf->facts->go_modinfo = info.modinfo;
}

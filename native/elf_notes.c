/*
 * elf_notes.c: notes and GNU properties.
 *
 * Purpose.    Build ids, the ABI tag, and the properties that say which CPU a file needs (gABI, "Note
 *             Section"; Linux extensions to gABI, "NT_GNU_PROPERTY_TYPE_0"; x86-64 and AArch64 psABIs).
 *             Where a PT_GNU_PROPERTY exists, kernel and loader read that one and so does this.
 * Ownership.  Names and descriptors are copied into the arena.
 * Threads.    None of its own.
 */
#include "elf.h"

#include <string.h>

enum { NT_GNU_ABI_TAG = 1, NT_GNU_BUILD_ID = 3, NT_GO_BUILD_ID = 4, NT_GNU_PROPERTY_TYPE_0 = 5 };

#define AARCH64_FEATURE_1_AND 0xc0000000u
#define X86_FEATURE_1_AND 0xc0000002u
#define X86_ISA_1_NEEDED 0xc0008002u
#define X86_ISA_1_USED 0xc0010002u

/* One note in the file, by offsets; sizes as found. */
typedef struct {
    uint64_t name, desc;
    uint32_t name_size, desc_size, type;
} note;

static uint64_t align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

/*
 * The note at *position of a range, which moves on to the next. False at the end of the range, and, with
 * an issue, where a note does not fit. Less than a header at the end is padding.
 */
static bool next_note(bm_elf *elf, bm_range range, uint64_t align, uint64_t *position, note *found)
{
    if (*position >= range.size || range.size - *position < 12)
        return false;
    const uint8_t *header = bm_view(elf->reader->source, range.offset + *position, 12);
    if (!header)
        return false;
    *found = (note){.name = range.offset + *position + 12,
                    .name_size = bm_load32(header, elf->big),
                    .desc_size = bm_load32(header + 4, elf->big),
                    .type = bm_load32(header + 8, elf->big)};
    uint64_t desc = align_up(*position + 12 + found->name_size, align);
    if (found->name_size > BM_MAX_STRING || !bm_within(desc, found->desc_size, range.size)) {
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_NOTE, range.offset + *position, found->desc_size);
        return false;
    }
    found->desc = range.offset + desc;
    *position = align_up(desc + found->desc_size, align);
    return true;
}

static bool named(bm_elf *elf, const note *found, const char name[4])
{
    const uint8_t *bytes = found->name_size == 4 ? bm_view(elf->reader->source, found->name, 4) : NULL;
    return bytes && memcmp(bytes, name, 4) == 0;
}

static void note_property(bm_elf *elf, uint32_t type, uint32_t value)
{
    bm_facts *facts = elf->facts;
    bool x86 = facts->machine == EM_386 || facts->machine == EM_X86_64;
    if (x86 && type == X86_FEATURE_1_AND)
        facts->x86_feature_1_and = value;
    else if (x86 && type == X86_ISA_1_NEEDED)
        facts->x86_isa_needed = value;
    else if (x86 && type == X86_ISA_1_USED)
        facts->x86_isa_used = value;
    else if (facts->machine == EM_AARCH64 && type == AARCH64_FEATURE_1_AND)
        facts->aarch64_feature_1_and = value;
}

/* Properties ascend strictly and fill the descriptor, or the kernel refuses them (parse_elf_property). */
static void read_properties(bm_elf *elf, const note *found)
{
    bm_range desc = {found->desc, found->desc_size, true};
    uint64_t align = elf->wide ? 8 : 4, position = 0;
    uint32_t previous = 0;
    elf->facts->property_present = 1;
    while (position < desc.size) {
        const uint8_t *bytes = NULL;
        if (bm_within(position, 8, desc.size))
            bytes = bm_view(elf->reader->source, desc.offset + position, 8);
        uint32_t type = bytes ? bm_load32(bytes, elf->big) : 0, size = bytes ? bm_load32(bytes + 4, elf->big) : 0;
        if (!bytes || !bm_within(position + 8, align_up(size, align), desc.size)) {
            bm_reader_issue(elf->reader, BM_ISSUE_BAD_PROPERTY, desc.offset + position, size);
            return;
        }
        if (position && type <= previous) {
            elf->facts->property_unsorted = 1;
            bm_reader_issue(elf->reader, BM_ISSUE_BAD_PROPERTY, desc.offset + position, type);
        }
        const uint8_t *value = size == 4 ? bm_view(elf->reader->source, desc.offset + position + 8, 4) : NULL;
        if (value)
            note_property(elf, type, bm_load32(value, elf->big));
        previous = type;
        position += 8 + align_up(size, align);
    }
}

static void read_abi_tag(bm_elf *elf, const note *found)
{
    const uint8_t *desc = found->desc_size >= 16 ? bm_view(elf->reader->source, found->desc, 16) : NULL;
    if (!desc) {
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_NOTE, found->desc, found->desc_size);
        return;
    }
    elf->facts->abi_tag_present = 1;
    elf->facts->abi_os = bm_load32(desc, elf->big);
    elf->facts->abi_major = bm_load32(desc + 4, elf->big);
    elf->facts->abi_minor = bm_load32(desc + 8, elf->big);
    elf->facts->abi_patch = bm_load32(desc + 12, elf->big);
}

/* The first of its kind counts, as it does for the tools that print build ids. */
static void interpret(bm_elf *elf, const note *found, bm_str desc)
{
    bm_facts *facts = elf->facts;
    if (found->type == NT_GO_BUILD_ID && facts->go_build_id.off == BM_NONE && named(elf, found, "Go\0"))
        facts->go_build_id = desc;
    if (found->type > NT_GNU_PROPERTY_TYPE_0 || !named(elf, found, "GNU"))
        return;
    if (found->type == NT_GNU_BUILD_ID && facts->build_id.off == BM_NONE)
        facts->build_id = desc;
    else if (found->type == NT_GNU_ABI_TAG && !facts->abi_tag_present)
        read_abi_tag(elf, found);
    else if (found->type == NT_GNU_PROPERTY_TYPE_0 && !elf->has_property_segment)
        read_properties(elf, found);
}

/*
 * While notes are counted, an item holds where its note is: the name's offset in name.off and pad, and
 * the way from there to the descriptor in desc.off.
 */
static bm_note packed(const note *found)
{
    return (bm_note){.name = {(uint32_t)found->name, found->name_size},
                     .type = found->type,
                     .desc = {(uint32_t)(found->desc - found->name), found->desc_size},
                     .pad = (uint32_t)(found->name >> 32)};
}

static note unpacked(const bm_note *item)
{
    uint64_t name = (uint64_t)item->pad << 32 | item->name.off;
    return (note){name, name + item->desc.off, item->name.len, item->desc.len, item->type};
}

/* The name without its NULs, and the descriptor up to its cap. */
static bm_note kept(bm_elf *elf, const note *found)
{
    bm_reader *reader = elf->reader;
    uint32_t size = found->desc_size < BM_MAX_NOTE_DESC ? found->desc_size : BM_MAX_NOTE_DESC;
    bm_note item = {.name = {BM_NONE, 0}, .type = found->type, .desc = {BM_NONE, 0}};
    if (size < found->desc_size)
        bm_reader_issue(reader, BM_ISSUE_CAPPED, found->desc, found->desc_size);
    if (size + found->name_size > reader->strings_left) {
        bm_reader_issue(reader, BM_ISSUE_CAPPED, found->name, found->name_size);
        return item;
    }
    reader->strings_left -= size + found->name_size;
    item.name = bm_reader_keep(reader, found->name, found->name_size);
    item.desc = bm_reader_keep(reader, found->desc, size);
    if (item.name.off == BM_NONE)
        return item;
    const uint8_t *name = bm_arena_at(reader->arena, item.name.off);
    while (item.name.len && name[item.name.len - 1] == 0)
        item.name.len--;
    return item;
}

/* The part of a segment that is in the file. */
static bm_range bytes_of(const bm_elf *elf, const bm_segment *segment)
{
    uint64_t size = elf->reader->source->size;
    uint64_t left = segment->offset < size ? size - segment->offset : 0;
    return (bm_range){segment->offset, segment->filesz < left ? segment->filesz : left, true};
}

static void list_notes(bm_elf *elf, const bm_segment *segment)
{
    bm_list *list = &elf->facts->notes;
    bm_range range = bytes_of(elf, segment);
    uint64_t position = 0, align = segment->align == 8 ? 8 : 4; /* 8 pads to 8; whatever else to 4 */
    note found;
    while (next_note(elf, range, align, &position, &found)) {
        if (list->count == BM_MAX_NOTES) {
            bm_reader_issue(elf->reader, BM_ISSUE_CAPPED, found.name, list->count);
            return;
        }
        bm_note item = packed(&found);
        if (!bm_reader_push(elf->reader, list, &item, sizeof item))
            return;
    }
}

/* The kernel reads the first note of at most 1024 bytes (fs/binfmt_elf.c, parse_elf_properties). */
static void read_property_segment(bm_elf *elf, const bm_segment *segment)
{
    uint64_t position = 0;
    note found;
    bm_range range = bytes_of(elf, segment);
    bool fits = segment->filesz <= 1024 && next_note(elf, range, elf->wide ? 8 : 4, &position, &found);
    if (fits && named(elf, &found, "GNU") && found.type == NT_GNU_PROPERTY_TYPE_0)
        read_properties(elf, &found);
    else
        bm_reader_issue(elf->reader, BM_ISSUE_BAD_PROPERTY, range.offset, segment->filesz);
}

static void resolve_notes(bm_elf *elf)
{
    bm_list list = elf->facts->notes;
    for (uint32_t i = 0; i < list.count && !bm_reader_stopped(elf->reader); i++) {
        uint32_t at = list.off + i * (uint32_t)sizeof(bm_note);
        note found = unpacked(bm_arena_at(elf->reader->arena, at));
        bm_note item = kept(elf, &found);
        *(bm_note *)bm_arena_at(elf->reader->arena, at) = item;
        interpret(elf, &found, item.desc);
    }
}

void bm_elf_read_notes(bm_elf *elf)
{
    for (uint32_t i = 0; i < elf->facts->segments.count; i++) {
        bm_segment segment = bm_elf_segments(elf)[i]; /* the arena may move */
        if (segment.type == PT_NOTE && segment.filesz)
            list_notes(elf, &segment);
        if (segment.type == PT_GNU_PROPERTY && !elf->has_property_segment) {
            elf->has_property_segment = true;
            read_property_segment(elf, &segment);
        }
    }
    resolve_notes(elf);
}

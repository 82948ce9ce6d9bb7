/*
 * elf_segments.c: program headers, and what follows from them alone.
 *
 * Purpose.    Loading on a given page size is decided here: a LOAD is mapped by pages, so its address and
 *             offset must agree modulo the page, and two LOADs must not want one page differently
 *             (Linux fs/binfmt_elf.c elf_map; glibc elf/dl-map-segments.h).
 * Ownership.  Segments live in the arena; a pointer to them dies with the next reservation.
 * Threads.    None of its own.
 */
#include "elf.h"

const bm_segment *bm_elf_segments(const bm_elf *elf)
{
    bm_list list = elf->facts->segments;
    return list.count ? bm_arena_at(elf->reader->arena, list.off) : NULL;
}

static bm_segment decode(const bm_elf *elf, const uint8_t *p)
{
    bool big = elf->big;
    if (elf->wide)
        return (bm_segment){bm_load32(p, big),       bm_load32(p + 4, big),   bm_load64(p + 8, big),
                            bm_load64(p + 16, big),  bm_load64(p + 24, big),  bm_load64(p + 32, big),
                            bm_load64(p + 40, big),  bm_load64(p + 48, big)};
    return (bm_segment){bm_load32(p, big),      bm_load32(p + 24, big), bm_load32(p + 4, big),
                        bm_load32(p + 8, big),  bm_load32(p + 12, big), bm_load32(p + 16, big),
                        bm_load32(p + 20, big), bm_load32(p + 28, big)};
}

/* How many program headers can be read: the table must lie in the file, with a usable stride. */
static uint32_t usable_count(bm_elf *elf)
{
    bm_facts *facts = elf->facts;
    bm_reader *reader = elf->reader;
    uint64_t length = (uint64_t)facts->phnum * facts->phentsize;
    if (!facts->phnum)
        return 0;
    bm_elf_describe(elf, facts->phoff, length);
    if (facts->phentsize != elf->phdr_size)
        bm_reader_issue(reader, BM_ISSUE_BAD_PHENTSIZE, facts->phoff, facts->phentsize);
    if (facts->phentsize < elf->phdr_size)
        return 0;
    if (!bm_within(facts->phoff, length, reader->source->size)) {
        bm_reader_issue(reader, BM_ISSUE_PHDRS_PAST_EOF, facts->phoff, facts->phnum);
        return 0;
    }
    if (facts->phnum > BM_MAX_SEGMENTS) {
        bm_reader_issue(reader, BM_ISSUE_TOO_MANY_PHDRS, facts->phoff, facts->phnum);
        return BM_MAX_SEGMENTS;
    }
    return facts->phnum;
}

/* The last byte address of a segment in memory, saturating. */
static uint64_t last_byte(const bm_segment *segment)
{
    uint64_t size = segment->memsz > segment->filesz ? segment->memsz : segment->filesz;
    return size - 1 > UINT64_MAX - segment->vaddr ? UINT64_MAX : segment->vaddr + size - 1;
}

static bool occupies(const bm_segment *segment)
{
    return segment->type == PT_LOAD && (segment->memsz || segment->filesz);
}

static void check_load(bm_elf *elf, const bm_segment *load, uint64_t at)
{
    bm_reader *reader = elf->reader;
    uint64_t top = elf->wide ? UINT64_MAX : UINT32_MAX;
    if (load->filesz > load->memsz)
        bm_reader_issue(reader, BM_ISSUE_FILESZ_OVER_MEMSZ, at, load->filesz - load->memsz);
    if (load->memsz && load->memsz - 1 > top - load->vaddr)
        bm_reader_issue(reader, BM_ISSUE_ADDRESS_OVERFLOW, at, 0);
    if (load->align > 1 && ((load->align & (load->align - 1)) || ((load->vaddr - load->offset) & (load->align - 1))))
        bm_reader_issue(reader, BM_ISSUE_BAD_ALIGN, at, load->align);
}

static void note_load(bm_elf *elf, const bm_segment *load)
{
    bm_facts *facts = elf->facts;
    uint64_t high = load->memsz > UINT64_MAX - load->vaddr ? UINT64_MAX : load->vaddr + load->memsz;
    if (!facts->has_load || load->vaddr < facts->load_low)
        facts->load_low = load->vaddr;
    if (!facts->has_load || high > facts->load_high)
        facts->load_high = high;
    facts->has_load = 1;
}

static void note_interp(bm_elf *elf, const bm_segment *segment, uint64_t at)
{
    bm_facts *facts = elf->facts;
    if (facts->interp_count++) {
        bm_reader_issue(elf->reader, BM_ISSUE_SECOND_INTERP, at, facts->interp_count);
        return;
    }
    facts->interp_offset = segment->offset;
    elf->interp_size = segment->filesz;
}

static void note_segment(bm_elf *elf, const bm_segment *segment, uint64_t at)
{
    bm_facts *facts = elf->facts;
    if (segment->type && segment->filesz) {
        bm_elf_describe(elf, segment->offset, segment->filesz);
        if (!bm_within(segment->offset, segment->filesz, elf->reader->source->size))
            bm_reader_issue(elf->reader, BM_ISSUE_SEGMENT_PAST_EOF, at, segment->type);
    }
    switch (segment->type) {
    case PT_LOAD:
        check_load(elf, segment, at);
        note_load(elf, segment);
        break;
    case PT_INTERP:
        note_interp(elf, segment, at);
        break;
    case PT_DYNAMIC:
        facts->has_dynamic = 1;
        break;
    case PT_TLS:
        facts->has_tls = 1;
        break;
    case PT_GNU_STACK:
        facts->stack_present = 1;
        facts->stack_flags = (uint8_t)(segment->flags & 7);
        break;
    case PT_GNU_RELRO:
        facts->relro = 1;
        break;
    case PT_GNU_EH_FRAME:
        facts->has_eh_frame_hdr = 1;
        break;
    default:
        break;
    }
}

static const uint64_t PAGE[3] = {4096, 16384, 65536};

static void judge_congruence(bm_facts *facts, const bm_segment *segments)
{
    uint64_t differing = (uint64_t)1 << 30;
    for (uint32_t i = 0; i < facts->segments.count; i++)
        if (segments[i].type == PT_LOAD)
            differing |= segments[i].vaddr - segments[i].offset;
    facts->max_align_common = facts->has_load ? differing & (~differing + 1) : 0;
    for (int page = 0; page < 3; page++)
        facts->page_incongruent[page] = facts->has_load && facts->max_align_common < PAGE[page];
}

static void judge_pair(bm_elf *elf, const bm_segment *a, const bm_segment *b, uint32_t index)
{
    uint64_t a_last = last_byte(a), b_last = last_byte(b);
    bool differ = a->vaddr - a->offset != b->vaddr - b->offset || ((a->flags ^ b->flags) & (PF_R | PF_W | PF_X));
    for (int page = 0; page < 3; page++) {
        uint64_t rest = PAGE[page] - 1;
        if (differ && (a->vaddr & ~rest) <= (b_last | rest) && (b->vaddr & ~rest) <= (a_last | rest))
            elf->facts->page_overlap[page] = 1;
    }
    if (a->vaddr <= b_last && b->vaddr <= a_last)
        bm_reader_issue(elf->reader, BM_ISSUE_LOADS_OVERLAP,
                        elf->facts->phoff + (uint64_t)index * elf->facts->phentsize, index);
}

static void judge_overlap(bm_elf *elf, const bm_segment *segments)
{
    uint32_t count = elf->facts->segments.count;
    uint64_t previous = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (segments[i].type == PT_LOAD) {
            if (segments[i].vaddr < previous)
                bm_reader_issue(elf->reader, BM_ISSUE_LOADS_UNSORTED,
                                elf->facts->phoff + (uint64_t)i * elf->facts->phentsize, i);
            previous = segments[i].vaddr;
        }
        if (occupies(&segments[i]))
            for (uint32_t j = i + 1; j < count; j++)
                if (occupies(&segments[j]))
                    judge_pair(elf, &segments[i], &segments[j], j);
    }
}

/* The kernel takes the first PT_INTERP: 2 to 4096 bytes with a NUL at the end (fs/binfmt_elf.c). */
static void read_interp(bm_elf *elf)
{
    bm_facts *facts = elf->facts;
    bm_reader *reader = elf->reader;
    uint64_t size = elf->interp_size, at = facts->interp_offset;
    const uint8_t *bytes = size >= 2 && size <= BM_MAX_INTERP ? bm_view(reader->source, at, (size_t)size) : NULL;
    if (!bytes || bytes[size - 1] != 0) {
        bm_reader_issue(reader, BM_ISSUE_BAD_INTERP, at, size);
        return;
    }
    int64_t length = bm_reader_strlen(reader, at, size);
    if (length >= 0)
        facts->interp = bm_reader_keep(reader, at, (uint64_t)length);
}

void bm_elf_read_segments(bm_elf *elf)
{
    bm_facts *facts = elf->facts;
    bm_reader *reader = elf->reader;
    uint32_t count = usable_count(elf), offset;
    if (!count || !bm_reader_reserve(reader, (uint64_t)count * sizeof(bm_segment), &offset))
        return;
    facts->segments = (bm_list){offset, count};
    bm_segment *segments = bm_arena_at(reader->arena, offset);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = facts->phoff + (uint64_t)i * facts->phentsize;
        const uint8_t *bytes = bm_view(reader->source, at, elf->phdr_size);
        if (!bytes)
            return;
        segments[i] = decode(elf, bytes);
        note_segment(elf, &segments[i], at);
    }
    judge_congruence(facts, segments);
    judge_overlap(elf, segments);
    if (facts->interp_count)
        read_interp(elf);
}

bool bm_elf_locate(const bm_elf *elf, uint64_t address, uint64_t *offset, uint64_t *available)
{
    const bm_segment *segments = bm_elf_segments(elf);
    uint64_t size = elf->reader->source->size;
    bool found = false;
    for (uint32_t i = elf->facts->segments.count; i-- > 0;) {
        const bm_segment *load = &segments[i];
        if (load->type != PT_LOAD || address < load->vaddr || address - load->vaddr >= load->filesz)
            continue;
        if (found) {
            bm_reader_issue(elf->reader, BM_ISSUE_AMBIGUOUS_VADDR, *offset, i);
            break;
        }
        uint64_t inside = address - load->vaddr;
        if (load->offset >= size || inside >= size - load->offset)
            return false;
        *offset = load->offset + inside;
        *available = load->filesz - inside < size - *offset ? load->filesz - inside : size - *offset;
        found = true;
    }
    return found;
}

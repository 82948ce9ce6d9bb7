/*
 * elf.h: what the parts of the ELF reader share. The entry for everybody else is reader.h.
 *
 * Purpose.    One bm_elf lives on the stack of bm_read_elf and is handed from part to part.
 * Ownership.  Borrowed throughout.
 * Threads.    None of its own.
 */
#ifndef BM_ELF_H
#define BM_ELF_H

#include "load.h"
#include "reader.h"

/* Values of the System V gABI and the GNU extensions that the reader looks at. */
enum {
    EI_CLASS = 4, EI_DATA = 5, EI_VERSION = 6, EI_OSABI = 7, EI_ABIVERSION = 8, EI_PAD = 9, EI_NIDENT = 16,
    ET_DYN = 3,
    EM_386 = 3, EM_S390 = 22, EM_X86_64 = 62, EM_AARCH64 = 183, EM_ALPHA = 0x9026,
    PN_XNUM = 0xffff, SHN_XINDEX = 0xffff,
    PT_LOAD = 1, PT_DYNAMIC = 2, PT_INTERP = 3, PT_NOTE = 4, PT_TLS = 7,
    PF_X = 1, PF_W = 2, PF_R = 4,
    SHT_NULL = 0, SHT_PROGBITS = 1, SHT_SYMTAB = 2, SHT_NOBITS = 8, SHT_DYNSYM = 11, SHT_MIPS_DWARF = 0x7000001e,
};
#define PT_GNU_EH_FRAME 0x6474e550u
#define PT_GNU_STACK 0x6474e551u
#define PT_GNU_RELRO 0x6474e552u
#define PT_GNU_PROPERTY 0x6474e553u

/* A table of the dynamic section, by address; present where its tag was. */
typedef struct {
    bool present;
    uint64_t address;
} bm_tag;

/* Bytes of the file. */
typedef struct {
    uint64_t offset, size;
    bool present;
} bm_range;

typedef struct {
    bm_reader *reader;
    bm_facts *facts;
    bool wide, big; /* ELFCLASS64, big-endian: by the view */
    uint32_t phdr_size, shdr_size;
    bool has_property_segment;
    uint64_t interp_size; /* of the first PT_INTERP */
    bm_tag strtab_tag, symtab_tag, hash_tag, gnu_hash_tag, versym_tag, verneed_tag, verdef_tag;
    bm_tag rela_tag, rel_tag, jmprel_tag;
    uint64_t strsz, syment, verneed_num, verdef_num, relasz, relsz, pltrelsz, pltrel;
    uint64_t soname, rpath, runpath; /* offsets in the string table */
    bool has_soname, has_rpath, has_runpath;
    bm_range strtab;     /* in the file */
    bm_range dynsym;     /* .dynsym by section header, in the file */
    bm_range go_section; /* .go.buildinfo by section header, in the file */
    uint64_t go_address; /* and its address */
} bm_elf;

/* elf_segments.c: program headers into facts.segments, and what follows from them alone. */
void bm_elf_read_segments(bm_elf *elf);
const bm_segment *bm_elf_segments(const bm_elf *elf);

/*
 * Where the byte at `address` lies in the file, and how many bytes of its LOAD follow in the file. Where
 * two LOADs cover the address, the later one counts, as it does in memory, and an issue is noted.
 */
bool bm_elf_locate(const bm_elf *elf, uint64_t address, uint64_t *offset, uint64_t *available);

/* elf_sections.c: optional facts from section headers; nothing that decides depends on them. */
void bm_elf_read_sections(bm_elf *elf);

/* elf_dynamic.c */
void bm_elf_read_dynamic(bm_elf *elf);

/* The string at `index` of the dynamic string table; absent, with an issue, where there is none. */
bm_str bm_elf_string(bm_elf *elf, uint64_t index);

/* elf_versions.c, elf_symbols.c: what the dynamic section leads to. */
void bm_elf_read_versions(bm_elf *elf);
void bm_elf_read_symbols(bm_elf *elf);

/* elf_notes.c, elf_go.c */
void bm_elf_read_notes(bm_elf *elf);
void bm_elf_read_go(bm_elf *elf);

/* Raises facts.described_end to offset + size, saturating. */
void bm_elf_describe(bm_elf *elf, uint64_t offset, uint64_t size);

#endif

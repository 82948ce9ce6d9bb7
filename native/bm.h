/*
 * bm.h: the public interface of the native core.
 *
 * Purpose.    Facts and digests of executables, in bulk: one open and one read of each file serve
 *             format detection, the ELF, PE and Mach-O readers and every digest.
 * Ownership.  The caller owns what it passes in and may release it when the call returns. A block
 *             (bm_block) is owned by whoever holds it, until bm_block_free.
 * Threads.    Reader and hashes keep no global state beyond a table chosen once at load time; any
 *             number of threads may call them. A batch is driven by one thread; its workers are its
 *             own.
 * Strings.    Never NUL-terminated. A bm_str or bm_list is an offset into the arena of the block
 *             that holds the record; an absent one has off == BM_NONE.
 * Stability.  Numbers of statuses, issues and formats are pinned: add at the end, never renumber.
 *
 * The region between the two markers below is read by cffi as it stands (build_ffi.py): plain C
 * declarations and integer #defines only.
 */
#ifndef BM_H
#define BM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define BM_API __attribute__((visibility("default")))
#else
#define BM_API
#endif

/* cdef begin */

#define BM_ABI 1
#define BM_NONE 0xffffffff

/* What a file is, by its first bytes. */
#define BM_FORMAT_OTHER 0
#define BM_FORMAT_EMPTY 1
#define BM_FORMAT_ELF 2
#define BM_FORMAT_PE 3
#define BM_FORMAT_MACHO 4
#define BM_FORMAT_MACHO_FAT 5
#define BM_FORMAT_SCRIPT 6
#define BM_FORMAT_ARCHIVE 7 /* "!<arch>\n" */

/* What a directory entry is (lstat). */
#define BM_KIND_UNKNOWN 0
#define BM_KIND_REGULAR 1
#define BM_KIND_DIRECTORY 2
#define BM_KIND_SYMLINK 3
#define BM_KIND_FIFO 4
#define BM_KIND_SOCKET 5
#define BM_KIND_CHARDEV 6
#define BM_KIND_BLOCKDEV 7

/* Status of one file. errno, where there is one, stands beside it. */
#define BM_STATUS_OK 0
#define BM_STATUS_OPEN 1       /* could not be opened */
#define BM_STATUS_STAT 2       /* could not be examined */
#define BM_STATUS_READ 3       /* a read failed; `offset` says where */
#define BM_STATUS_CHANGED 4    /* size, mtime or ctime differ after the read */
#define BM_STATUS_SHRANK 5     /* end of file before the size that was there at open */
#define BM_STATUS_NOT_REGULAR 6 /* named explicitly, but not a regular file: never opened */
#define BM_STATUS_NOMEM 7
#define BM_STATUS_CANCELLED 8
#define BM_STATUS_ESCAPES 9    /* a symlink component leads out of the root */
#define BM_STATUS_MALFORMED 10 /* read in full, but facts carry issues; the first is in `issue` */
#define BM_STATUS_DIRECTORY 11 /* a directory could not be listed */

/* What is wrong with a file's structure, from the specification's point of view. */
#define BM_ISSUE_NONE 0
#define BM_ISSUE_SHORT_HEADER 1       /* file ends inside the ELF (PE, Mach-O) header */
#define BM_ISSUE_BAD_CLASS 2
#define BM_ISSUE_BAD_DATA 3
#define BM_ISSUE_BAD_IDENT_VERSION 4
#define BM_ISSUE_BAD_VERSION 5
#define BM_ISSUE_BAD_EHSIZE 6
#define BM_ISSUE_BAD_PHENTSIZE 7
#define BM_ISSUE_PHDRS_PAST_EOF 8
#define BM_ISSUE_TOO_MANY_PHDRS 9
#define BM_ISSUE_BAD_SHENTSIZE 10
#define BM_ISSUE_SHDRS_PAST_EOF 11
#define BM_ISSUE_SEGMENT_PAST_EOF 12
#define BM_ISSUE_FILESZ_OVER_MEMSZ 13
#define BM_ISSUE_ADDRESS_OVERFLOW 14
#define BM_ISSUE_LOADS_OVERLAP 15     /* address ranges of two LOADs intersect */
#define BM_ISSUE_LOADS_UNSORTED 16
#define BM_ISSUE_BAD_INTERP 17        /* size < 2, > 4096, past EOF, or not NUL-terminated */
#define BM_ISSUE_SECOND_INTERP 18
#define BM_ISSUE_DYNAMIC_PAST_EOF 19
#define BM_ISSUE_DYNAMIC_NO_NULL 20
#define BM_ISSUE_BAD_STRTAB 21        /* DT_STRTAB/DT_STRSZ not inside a LOAD's file bytes */
#define BM_ISSUE_BAD_STRING 22        /* an offset outside the string table, or no NUL */
#define BM_ISSUE_BAD_VERNEED 23
#define BM_ISSUE_BAD_VERDEF 24
#define BM_ISSUE_BAD_HASH 25          /* GNU_HASH or HASH unusable */
#define BM_ISSUE_BAD_SYMTAB 26
#define BM_ISSUE_BAD_NOTE 27
#define BM_ISSUE_BAD_PROPERTY 28
#define BM_ISSUE_BAD_BUILDINFO 29
#define BM_ISSUE_BAD_ALIGN 30         /* p_align not 0, 1 or a power of two, or not congruent to it */
#define BM_ISSUE_CAPPED 31            /* a count in the file exceeded what is kept; see the caps */
#define BM_ISSUE_BAD_PE 32
#define BM_ISSUE_BAD_MACHO 33
#define BM_ISSUE_AMBIGUOUS_VADDR 34   /* a table's address is covered by two LOADs */
#define BM_ISSUE_DYNAMIC_ELSEWHERE 35 /* PT_DYNAMIC's address (which loaders use) and offset disagree */
#define BM_ISSUE_SECTION_PAST_EOF 36
#define BM_ISSUE_BAD_DYNAMIC 37       /* a string table without a size: names cannot be bounded */
#define BM_ISSUE_SECOND_DYNAMIC 38    /* loaders take the last PT_DYNAMIC, other tools the first */

/* What to compute. */
#define BM_WANT_FACTS 1
#define BM_WANT_SYMBOLS 2   /* dynamic symbols, defined and undefined (implies facts) */
#define BM_WANT_SHA256 4
#define BM_WANT_SHA512 8
#define BM_WANT_SHA1 16
#define BM_WANT_ALL_ENTRIES 32 /* trees: report directories and special files too */
#define BM_WANT_RECOGNISED 64  /* leave out files read without trouble whose format is OTHER or EMPTY, and symlinks */

/*
 * Caps: what a file claims about itself is kept up to these. Past one, the facts keep what came before
 * and carry BM_ISSUE_CAPPED with the count that was claimed.
 */
#define BM_MAX_ISSUES 32
#define BM_MAX_SEGMENTS 2048        /* the kernel refuses more than 1170 (ELF64) or 2048 (ELF32) */
#define BM_MAX_DYNAMIC 65536        /* entries of the dynamic section that are looked at */
#define BM_MAX_NEEDED 4096
#define BM_MAX_VERSIONS 65536       /* needs, and again definitions */
#define BM_MAX_SYMBOLS 16777216
#define BM_MAX_NOTES 4096
#define BM_MAX_NOTE_DESC 4096       /* bytes of one descriptor */
#define BM_MAX_STRING 65536         /* bytes of one string, symbol names excepted */
#define BM_MAX_STRINGS 8388608      /* bytes of all strings of one file, symbol names excepted */
#define BM_MAX_INTERP 4096          /* PATH_MAX, as in the kernel's load_elf_binary */
#define BM_MAX_SHEBANG 4096
#define BM_MAX_MODINFO 16777216     /* bytes of Go module information */
#define BM_MAX_GO_VERSION 4096
#define BM_MAX_FAT 42               /* a larger "count" is the version of a Java class file */
#define BM_MAX_PE_SECTIONS 96       /* the Windows loader's limit */
#define BM_MAX_LOAD_COMMANDS 4096

/*
 * Whose eyes an ELF file is read with. SPEC believes EI_CLASS and EI_DATA. The others force class and
 * byte order, as a kernel does, which looks at neither (low byte: class, high byte: data).
 */
#define BM_VIEW_SPEC 0
#define BM_VIEW_ELF32_LE 0x0101
#define BM_VIEW_ELF64_LE 0x0102
#define BM_VIEW_ELF32_BE 0x0201
#define BM_VIEW_ELF64_BE 0x0202

typedef struct { uint32_t off, len; } bm_str;
typedef struct { uint32_t off, count; } bm_list; /* items lie at arena + off, which is 8-aligned */

typedef struct { uint64_t offset; uint32_t code; uint32_t detail; } bm_issue;

typedef struct {
    uint32_t type, flags;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
} bm_segment;

typedef struct { bm_str library, version; uint32_t hash; uint16_t flags, index; } bm_verneed;
typedef struct { bm_str name; uint32_t hash; uint16_t flags, index; } bm_verdef;

typedef struct {
    bm_str name;
    uint64_t value, size;
    uint16_t section;      /* st_shndx; 0: undefined */
    uint16_t version;      /* versym as found (bit 15: hidden); 0 where there is none */
    uint8_t info, other;   /* st_info, st_other as found */
    uint8_t pad[2];
} bm_symbol;

typedef struct { bm_str name; uint32_t type; bm_str desc; uint32_t pad; } bm_note;

typedef struct { uint32_t cputype, cpusubtype; uint64_t offset, size; bm_str go_version, go_modinfo; } bm_fat_arch;

/* page-size verdicts: index 0 is 4K, 1 is 16K, 2 is 64K */
typedef struct {
    uint32_t format;
    uint32_t issue_first;            /* code of the first issue, or 0 */
    bm_list issues;                  /* bm_issue, at most BM_MAX_ISSUES */
    /* header (ELF; for PE and Mach-O: machine, type, flags, entry where they have a counterpart) */
    uint8_t elf_class, elf_data, ident_version, osabi, abiversion, ident_pad_set;
    uint8_t go_format;               /* 0 none, 1 pointers, 2 inline */
    uint8_t class_by_layout;         /* 1 or 2: the class whose e_ehsize/e_phentsize the header has; 0 neither */
    uint16_t type, machine, machine_le, machine_be; /* machine by EI_DATA; then read as either order */
    uint32_t version, flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx; /* counts reconciled (PN_XNUM …) */
    uint32_t phnum_raw, interp_count;
    uint8_t read_class, read_data;   /* the view the facts were read with; 0 where the header was unusable */
    uint8_t pad0[6];
    uint64_t entry, phoff, shoff, file_size;
    uint64_t described_end;          /* end of the last byte that header, segments or sections claim */
    /* program headers */
    bm_list segments;                /* bm_segment */
    uint8_t page_incongruent[3];     /* some LOAD: (vaddr - offset) mod page != 0 */
    uint8_t page_overlap[3];         /* LOADs share a page with other offset delta or permissions */
    uint8_t has_load, has_dynamic;
    uint64_t load_low, load_high;    /* address range of the LOADs: lowest vaddr, highest vaddr + memsz */
    uint64_t max_align_common;       /* largest power of two p for which every LOAD is congruent, at most 2^30 */
    bm_str interp; uint64_t interp_offset;
    uint8_t stack_present, stack_flags, relro, textrel, bind_now, pie, static_pie, has_relr; /* see elf_dynamic.c for pie */
    uint8_t has_symtab, has_debug, has_eh_frame_hdr, truncated, has_sections, has_tls, has_init_array, pad1;
    /* dynamic section */
    bm_list needed;                  /* bm_str */
    bm_str soname, rpath, runpath;
    uint64_t dt_flags, dt_flags_1;
    bm_list verneeds, verdefs;
    uint32_t symbol_count;           /* dynamic symbols by hash table, whether or not asked for */
    uint32_t has_gnu_hash, has_sysv_hash, verneed_num;
    bm_list symbols;                 /* bm_symbol, only with BM_WANT_SYMBOLS */
    /* notes */
    bm_list notes;                   /* bm_note: every note of the PT_NOTE segments, capped */
    bm_str build_id, go_build_id;
    uint8_t abi_tag_present, property_present, property_unsorted, pad2;
    uint32_t abi_os, abi_major, abi_minor, abi_patch;
    uint32_t x86_isa_needed, x86_isa_used, x86_feature_1_and, aarch64_feature_1_and;
    /* Go build info */
    bm_str go_version, go_modinfo;   /* modinfo without its sentinels */
    /* scripts: the first line after "#!", without its newline, at most 4096 bytes */
    bm_str shebang;
    /* PE and Mach-O */
    bm_list fat;                     /* bm_fat_arch */
    uint32_t pe_subsystem, pe_characteristics, macho_filetype, macho_cputype, macho_cpusubtype, pad3;
} bm_facts;

typedef struct {
    bm_str path;                     /* as given; in a tree: relative to the root that was given */
    uint32_t root;                   /* index of the root in the order they were added */
    uint32_t kind, status, error;    /* error: errno or 0 */
    uint32_t issue;                  /* first issue where status is MALFORMED */
    uint32_t facts;                  /* arena offset of a bm_facts (8-aligned), or BM_NONE */
    uint64_t offset;                 /* where a read failed or an issue lies */
    uint64_t size, mtime_ns, device, inode;
    uint32_t mode, uid, gid, have;   /* have: the BM_WANT_SHA… bits whose digests are valid */
    bm_str target;                   /* of a symlink */
    uint8_t sha256[32], sha512[64], sha1[20];
    uint32_t pad;
} bm_record;

typedef struct bm_block {
    struct bm_block *next;           /* for the queue; of no meaning to the caller */
    uint32_t count, capacity;
    bm_record *records;
    uint8_t *arena;
    uint64_t arena_len, arena_capacity;
} bm_block;

/*
 * Read the facts of one open file. `want` is a set of BM_WANT_FACTS and BM_WANT_SYMBOLS, `view` one of
 * BM_VIEW_…; the descriptor's position is neither used nor moved. Returns a block with one record and
 * no path, which the caller frees, or NULL where memory ran out, with *error = ENOMEM. What is wrong
 * with the file stands in the record's status; its facts are absent unless status is OK or MALFORMED.
 */
bm_block *bm_scan_fd(int fd, uint32_t want, uint32_t view, int *error);

/* The same from bytes in memory, which need to live only until the call returns. */
bm_block *bm_scan_memory(const uint8_t *data, size_t length, uint32_t want, uint32_t view, int *error);

/* Release a block and its arena; NULL is allowed. */
void bm_block_free(bm_block *block);

/*
 * Batches: lists and trees of files, read by worker threads; results leave in blocks, in no order.
 * bm_record.root says which call of add a record belongs to. Symbolic links in a tree are not
 * followed; a path given to bm_batch_add is, as by any program. Directories, devices, pipes and
 * sockets are never opened for reading.
 */
#define BM_BATCH_RUNNING 0  /* nothing to take within the time */
#define BM_BATCH_READY 1    /* bm_batch_take has a block */
#define BM_BATCH_DONE 2     /* all blocks were taken and no worker is left; see bm_batch_error */

typedef struct bm_batch bm_batch;
typedef struct { uint64_t files, directories, bytes, errors; } bm_progress;

/* threads 0: one for each processor. NULL where memory ran out. */
bm_batch *bm_batch_open(uint32_t want, uint32_t threads);

/* `length` bytes without a NUL. Return 0 or an errno; nothing can be added once the batch has started. */
int bm_batch_add(bm_batch *batch, const char *path, size_t length);
int bm_batch_add_tree(bm_batch *batch, const char *path, size_t length);

/* Many files at once: their paths with a NUL between each two. */
int bm_batch_add_list(bm_batch *batch, const char *paths, size_t length);

/* Starts the workers. Returns 0 or an errno. */
int bm_batch_start(bm_batch *batch);

/* Waits at most so long for a block or the end. Returns a BM_BATCH_ state. */
int bm_batch_wait(bm_batch *batch, uint32_t milliseconds);

/* The next block, to be released with bm_block_free, or NULL. */
bm_block *bm_batch_take(bm_batch *batch);

/* Makes the workers stop; from any thread. What was not taken is dropped by bm_batch_close. */
void bm_batch_cancel(bm_batch *batch);

/* 0, ECANCELED, or what ended the batch before its end: then the results are not complete. */
int bm_batch_error(bm_batch *batch);
void bm_batch_progress(bm_batch *batch, bm_progress *progress);

/* Cancels, waits for the workers and frees everything but blocks already taken. NULL is allowed. */
void bm_batch_close(bm_batch *batch);

/*
 * For tests and benchmarks: `yes` forbids io_uring from the next batch on, as an older kernel or a filter
 * would.
 */
void bm_ring_forbid(int yes);

/* Hashing. `want` is one BM_WANT_SHA… bit everywhere. */
#define BM_HASH_OK 0
#define BM_HASH_UNKNOWN 1   /* not one of the three algorithms */
#define BM_HASH_NOMEM 2

typedef struct bm_context bm_context;

/*
 * Known-answer test of every kernel that this CPU can run. Returns 0, or the BM_WANT_SHA… bit of the
 * algorithm that failed, with the kernel's name in *kernel.
 */
uint32_t bm_self_test(const char **kernel);

/*
 * Digests of `count` buffers, one after the other in `digests`, in the order of the buffers. Buffers
 * run side by side, longest first. Returns a BM_HASH_ code.
 */
int bm_hash_many(uint32_t want, const uint8_t *const *buffers, const size_t *sizes, size_t count, uint8_t *digests);

/* One message in pieces; NULL where memory ran out or `want` is unknown. */
bm_context *bm_hash_new(uint32_t want);
void bm_hash_update(bm_context *context, const uint8_t *data, size_t size);
void bm_hash_finish(bm_context *context, uint8_t *digest);
void bm_hash_free(bm_context *context);

/* How many messages are kept in flight, and by which kernel `lanes` of them are advanced. */
uint32_t bm_hash_width(uint32_t want);
const char *bm_hash_kernel(uint32_t want, uint32_t lanes);

/*
 * For tests and benchmarks: use only kernels whose CPU features are in `cpu` (0: those of every CPU), and
 * calibrate again. No other thread may be hashing.
 */
#define BM_CPU_BMI2 1    /* with BMI1 */
#define BM_CPU_AVX2 2    /* and the operating system saves YMM */
#define BM_CPU_SHANI 4   /* with SSSE3 and SSE4.1 */
#define BM_CPU_ARM_SHA1 8
#define BM_CPU_ARM_SHA2 16
#define BM_CPU_ARM_SHA512 32
#define BM_CPU_AVX512 64 /* F, BW and VL, and the operating system saves ZMM */
#define BM_CPU_SSSE3 128
#define BM_CPU_AVX 256   /* and the operating system saves YMM */
void bm_hash_limit(uint32_t cpu);
uint32_t bm_cpu(void);

/*
 * The same for one algorithm and one kernel, which then carries everything, padded where there are fewer
 * messages than it has lanes. Returns 1, or 0 where this CPU has no kernel of that name. bm_hash_limit ends
 * it. The names are those of bm_hash_usable: of the kernels usable here by number, NULL past the last.
 */
int bm_hash_use(uint32_t want, const char *kernel);
const char *bm_hash_usable(uint32_t want, uint32_t number);

/*
 * The lines of `text` that hold a literal, by an automaton: `table` has 256 successors for each state, 0 is
 * the start, and every state from `accepting` on has just read a literal. No literal holds a newline.
 *
 * bm_lines looks from the offset `*at`, where a line begins, writes begin and end (without its newline) of at
 * most `capacity` lines to `spans`, two numbers a line, and returns how many. `*at` becomes where to go on;
 * fewer than `capacity` lines mean that the text is through. The table must be one that bm_lines_table, which
 * checks that every successor is a state, has returned true for.
 */
bool bm_lines_table(const uint16_t *table, size_t states);
size_t bm_lines(const uint16_t *table, uint16_t accepting, const uint8_t *text, size_t length, size_t *at,
                size_t *spans, size_t capacity);

/* cdef end */

#endif

/* What the interposed library and the harness share: a control file, and a journal of all I/O.
 * Only files below the folders of TORTURE_ROOTS are meant. Layout as in interpose/__init__.py. */
#ifndef TORTURE_H
#define TORTURE_H

#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum area { SPOOL, LOG, STATE, AREAS, NOWHERE = -1 };
enum operation { OPEN, READ, WRITE, SYNC, RENAME, UNLINK, TRUNCATE, ALLOCATE, MKDIR, STATFS, OPERATIONS };
enum kind { FAIL, SHORT, SLOW };
enum { HITS = 64, PATH_SHOWN = 128 };

struct hit { /* a call that was failed */
    uint64_t number;
    uint32_t area, operation, pid, tid;
    char path[PATH_SHOWN];
};

struct control {
    _Atomic uint64_t entries; /* of the journal so far: the mark of clients and sink */
    _Atomic uint64_t data;    /* octets of its data so far */
    uint64_t most_entries, most_data; /* room; 0: there is no journal */
    _Atomic uint64_t lost;            /* entries that found none */
    _Atomic uint64_t journaling;
    _Atomic uint64_t lying;             /* syncs do nothing and say that they did */
    _Atomic uint64_t armed;             /* the fault below is in force */
    uint64_t areas, operations;         /* bits: the calls that are meant */
    uint64_t first, last;               /* of them, counted from 1, these are failed */
    uint64_t percent, seed;             /* and of those so many */
    uint64_t error, kind, microseconds; /* errno; enum kind; how slow */
    _Atomic uint64_t counted;           /* calls that were meant since it was armed */
    _Atomic uint64_t failed;
    _Atomic uint64_t counts[AREAS][OPERATIONS]; /* all calls since the control file was made */
    struct hit hits[HITS];                      /* the first that were failed */
};

/* -- files.c: which files are meant */

struct file {
    int8_t area; /* NOWHERE: not meant */
    bool folder;
    uint64_t inode;
};

enum area area_of(const char *path);
/* The absolute path of `path` below the folder `at`, in `into`; NULL where no file can be meant. */
const char *resolve(int at, const char *path, char *into, size_t size);
void track(int fd, enum area area);
void forget(int fd);
/* NULL if the descriptor is of no file that is meant. */
const struct file *file_of(int fd);

/* -- control.c: the fault */

extern struct control *control; /* NULL: nothing is done */
enum verdict { GO, STOP, HALVE };
/* Count a call; STOP: it fails, errno is set; HALVE: only a part of it is to be done. */
enum verdict meant(enum area area, enum operation operation, int fd, const char *path);

/* -- journal.c */

/* The journal is `most_entries` of these, then their data. */
struct entry {
    _Atomic uint32_t kind; /* written last */
    uint32_t length;       /* of the data */
    uint64_t inode, a, b, nanoseconds, at; /* at: of the data */
};

enum entry_kind {
    UNFINISHED, /* given out, and never filled: its process was killed */
    OPENED,     /* inode, a: bits of what happened; path */
    WRITTEN,    /* inode, a: offset, b: octets; the octets */
    ZEROED,     /* inode, a: offset, b: octets, all of them 0 */
    CUT_TO,     /* inode, a: size */
    ALLOCATED,  /* inode, a: offset, b: octets; the size may have grown */
    SYNCED,     /* inode, a: the mark when it began, b: 1 if by fdatasync */
    RENAMED,    /* path, path */
    UNLINKED,   /* path */
    MADE,       /* path of a folder */
    LINKED,     /* path, path */
    UNSYNCED,   /* inode, a: as SYNCED; the sync failed */
};
enum opened { CREATED = 1, EMPTIED = 2, FOLDER = 4 };

uint64_t mark(void);
void note(enum entry_kind kind, uint64_t inode, uint64_t a, uint64_t b);
void note_paths(enum entry_kind kind, uint64_t inode, uint64_t a, const char *one, const char *two);
/* `size` octets from `parts` on were written at `offset`. */
void note_write(uint64_t inode, uint64_t offset, const struct iovec *parts, size_t size);

#endif

/* The C library's calls that touch files, in front of the real ones. Offsets have 64 bits, so that
 * the names with 64 are aliases. What a file's descriptor does not tell, `resolve` does. */

#include "torture.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "the names with 64 are aliases");

enum { LONGEST = 4096 };

#define REAL(name)                                                                                 \
    static __typeof__(name) *real;                                                                 \
    if (!real)                                                                                     \
    real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define ALIAS(name) __attribute__((alias(#name)))

static size_t shrunk(enum verdict verdict, size_t size) {
    return verdict == HALVE && size > 1 ? size / 2 : size;
}

/* `parts` as they are, or half of the first one in `half`. */
static const struct iovec *shrunk_parts(enum verdict verdict, const struct iovec *parts, int *count,
                                        struct iovec *half) {
    if (verdict != HALVE || *count < 1)
        return parts;
    half->iov_base = parts[0].iov_base;
    half->iov_len = shrunk(verdict, parts[0].iov_len);
    *count = 1;
    return half;
}

static enum verdict meant_file(const struct file *file, enum operation operation, int fd) {
    return file ? meant(file->area, operation, fd, NULL) : GO;
}

/* -- opening and closing */

static void opened(int fd, const char *path, enum area area, uint64_t bits) {
    track(fd, area);
    const struct file *file = file_of(fd);
    if (file)
        note_paths(OPENED, file->inode, bits | (file->folder ? FOLDER : 0), path, NULL);
}

static bool exists(const char *path) {
    int before = errno;
    bool found = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
    errno = before;
    return found;
}

static int real_openat(int at, const char *path, int flags, mode_t mode) {
    REAL(openat);
    return real(at, path, flags, mode);
}

static int opening(int at, const char *path, int flags, mode_t mode) {
    char room[LONGEST];
    const char *full = resolve(at, path, room, sizeof room);
    enum area area = area_of(full);
    if (area == NOWHERE) {
        int fd = real_openat(at, path, flags, mode);
        forget(fd);
        return fd;
    }
    if (meant(area, OPEN, -1, full) == STOP)
        return -1;
    bool fresh = flags & O_CREAT && !exists(full);
    int fd = real_openat(at, path, flags, mode);
    if (fd >= 0)
        opened(fd, full, area, (fresh ? CREATED : 0) | (flags & O_TRUNC ? EMPTIED : 0));
    return fd;
}

static mode_t mode_in(int flags, va_list rest) {
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(rest, int) : 0;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_in(flags, rest);
    va_end(rest);
    return opening(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) ALIAS(open);

int openat(int at, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_in(flags, rest);
    va_end(rest);
    return opening(at, path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) ALIAS(openat);

int creat(const char *path, mode_t mode) {
    return opening(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) ALIAS(creat);

FILE *fopen(const char *path, const char *mode) {
    REAL(fopen);
    enum area area = area_of(path);
    if (area == NOWHERE)
        return real(path, mode);
    if (meant(area, OPEN, -1, path) == STOP)
        return NULL;
    bool fresh = mode[0] != 'r' && !exists(path);
    FILE *file = real(path, mode);
    if (file)
        opened(fileno(file), path, area, (fresh ? CREATED : 0) | (mode[0] == 'w' ? EMPTIED : 0));
    return file;
}
FILE *fopen64(const char *path, const char *mode) ALIAS(fopen);

DIR *opendir(const char *path) {
    REAL(opendir);
    return meant(area_of(path), OPEN, -1, path) == STOP ? NULL : real(path);
}

int close(int fd) {
    REAL(close);
    forget(fd);
    return real(fd);
}

int fclose(FILE *file) {
    REAL(fclose);
    forget(fileno(file));
    return real(file);
}

static void twin(int from, int to) {
    const struct file *file = file_of(from);
    if (to >= 0)
        track(to, file ? file->area : NOWHERE);
}

int dup(int fd) {
    REAL(dup);
    int found = real(fd);
    twin(fd, found);
    return found;
}

int dup2(int fd, int to) {
    REAL(dup2);
    int found = real(fd, to);
    twin(fd, found);
    return found;
}

int dup3(int fd, int to, int flags) {
    REAL(dup3);
    int found = real(fd, to, flags);
    twin(fd, found);
    return found;
}

/* -- reading */

ssize_t read(int fd, void *to, size_t size) {
    REAL(read);
    enum verdict verdict = meant_file(file_of(fd), READ, fd);
    return verdict == STOP ? -1 : real(fd, to, shrunk(verdict, size));
}

ssize_t pread(int fd, void *to, size_t size, off_t offset) {
    REAL(pread);
    enum verdict verdict = meant_file(file_of(fd), READ, fd);
    return verdict == STOP ? -1 : real(fd, to, shrunk(verdict, size), offset);
}
ssize_t pread64(int fd, void *to, size_t size, off_t offset) ALIAS(pread);

ssize_t readv(int fd, const struct iovec *parts, int count) {
    REAL(readv);
    struct iovec half;
    enum verdict verdict = meant_file(file_of(fd), READ, fd);
    parts = shrunk_parts(verdict, parts, &count, &half);
    return verdict == STOP ? -1 : real(fd, parts, count);
}

ssize_t preadv(int fd, const struct iovec *parts, int count, off_t offset) {
    REAL(preadv);
    struct iovec half;
    enum verdict verdict = meant_file(file_of(fd), READ, fd);
    parts = shrunk_parts(verdict, parts, &count, &half);
    return verdict == STOP ? -1 : real(fd, parts, count, offset);
}
ssize_t preadv64(int fd, const struct iovec *parts, int count, off_t offset) ALIAS(preadv);

ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    REAL(preadv2);
    struct iovec half;
    enum verdict verdict = meant_file(file_of(fd), READ, fd);
    parts = shrunk_parts(verdict, parts, &count, &half);
    return verdict == STOP ? -1 : real(fd, parts, count, offset, flags);
}
ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
    ALIAS(preadv2);

/* A stream has no short reads; an error is told by its flag, as the C library does. */
static bool stopped(FILE *file) {
    if (meant_file(file_of(fileno(file)), READ, fileno(file)) != STOP)
        return false;
    file->_flags |= 0x20; /* _IO_ERR_SEEN */
    return true;
}

size_t fread(void *to, size_t size, size_t count, FILE *file) {
    REAL(fread);
    return stopped(file) ? 0 : real(to, size, count, file);
}

#undef fread_unlocked
size_t fread_unlocked(void *to, size_t size, size_t count, FILE *file) {
    REAL(fread_unlocked);
    return stopped(file) ? 0 : real(to, size, count, file);
}

/* -- writing */

static ssize_t wrote(const struct file *file, int fd, const struct iovec *parts, ssize_t done,
                     off_t offset) {
    if (!file || done <= 0)
        return done;
    int before = errno;
    if (offset < 0)
        offset = lseek(fd, 0, SEEK_CUR) - done;
    note_write(file->inode, (uint64_t)offset, parts, (size_t)done);
    errno = before;
    return done;
}

ssize_t write(int fd, const void *from, size_t size) {
    REAL(write);
    const struct file *file = file_of(fd);
    enum verdict verdict = meant_file(file, WRITE, fd);
    struct iovec part = {(void *)from, shrunk(verdict, size)};
    return verdict == STOP ? -1 : wrote(file, fd, &part, real(fd, from, part.iov_len), -1);
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t offset) {
    REAL(pwrite);
    const struct file *file = file_of(fd);
    enum verdict verdict = meant_file(file, WRITE, fd);
    struct iovec part = {(void *)from, shrunk(verdict, size)};
    return verdict == STOP ? -1 : wrote(file, fd, &part, real(fd, from, part.iov_len, offset), offset);
}
ssize_t pwrite64(int fd, const void *from, size_t size, off_t offset) ALIAS(pwrite);

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    struct iovec half;
    const struct file *file = file_of(fd);
    enum verdict verdict = meant_file(file, WRITE, fd);
    parts = shrunk_parts(verdict, parts, &count, &half);
    return verdict == STOP ? -1 : wrote(file, fd, parts, real(fd, parts, count), -1);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    REAL(pwritev);
    struct iovec half;
    const struct file *file = file_of(fd);
    enum verdict verdict = meant_file(file, WRITE, fd);
    parts = shrunk_parts(verdict, parts, &count, &half);
    return verdict == STOP ? -1 : wrote(file, fd, parts, real(fd, parts, count, offset), offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) ALIAS(pwritev);

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    REAL(pwritev2);
    struct iovec half;
    const struct file *file = file_of(fd);
    enum verdict verdict = meant_file(file, WRITE, fd);
    parts = shrunk_parts(verdict, parts, &count, &half);
    ssize_t done = verdict == STOP ? -1 : real(fd, parts, count, offset, flags);
    return wrote(file, fd, parts, done, offset);
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
    ALIAS(pwritev2);

int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    const struct file *file = file_of(fd);
    if (meant_file(file, TRUNCATE, fd) == STOP)
        return -1;
    int result = real(fd, size);
    if (file && !result)
        note(CUT_TO, file->inode, (uint64_t)size, 0);
    return result;
}
int ftruncate64(int fd, off_t size) ALIAS(ftruncate);

int truncate(const char *path, off_t size) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = ftruncate(fd, size), error = errno;
    close(fd);
    errno = error;
    return result;
}
int truncate64(const char *path, off_t size) ALIAS(truncate);

static void allocated(const struct file *file, int mode, off_t offset, off_t size) {
    if (!file || mode == FALLOC_FL_KEEP_SIZE)
        return;
    note(mode ? ZEROED : ALLOCATED, file->inode, (uint64_t)offset, (uint64_t)size);
}

int fallocate(int fd, int mode, off_t offset, off_t size) {
    REAL(fallocate);
    const struct file *file = file_of(fd);
    if (meant_file(file, ALLOCATE, fd) == STOP)
        return -1;
    int result = real(fd, mode, offset, size);
    if (!result)
        allocated(file, mode, offset, size);
    return result;
}
int fallocate64(int fd, int mode, off_t offset, off_t size) ALIAS(fallocate);

int posix_fallocate(int fd, off_t offset, off_t size) {
    REAL(posix_fallocate);
    const struct file *file = file_of(fd);
    if (meant_file(file, ALLOCATE, fd) == STOP)
        return errno;
    int result = real(fd, offset, size);
    if (!result)
        allocated(file, 0, offset, size);
    return result;
}
int posix_fallocate64(int fd, off_t offset, off_t size) ALIAS(posix_fallocate);

/* -- syncing */

static int synced(int fd, int (*real)(int), uint64_t data_only) {
    const struct file *file = file_of(fd);
    if (!file)
        return real(fd);
    uint64_t began = mark(), inode = file->inode;
    int result = -1;
    if (meant_file(file, SYNC, fd) != STOP) {
        if (control && atomic_load(&control->lying))
            return 0;
        result = real(fd);
    }
    int error = errno;
    note(result ? UNSYNCED : SYNCED, inode, began, data_only);
    errno = error;
    return result;
}

int fsync(int fd) {
    REAL(fsync);
    return synced(fd, real, 0);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return synced(fd, real, 1);
}

int sync_file_range(int fd, off_t offset, off_t size, unsigned flags) {
    REAL(sync_file_range);
    if (meant_file(file_of(fd), SYNC, fd) == STOP)
        return -1;
    return real(fd, offset, size, flags); /* it promises nothing */
}

/* -- names */

static int renaming(int from, const char *old, int to, const char *name, unsigned flags) {
    REAL(renameat2);
    char one[LONGEST], two[LONGEST];
    const char *first = resolve(from, old, one, sizeof one);
    const char *second = resolve(to, name, two, sizeof two);
    enum area area = area_of(second);
    if (meant(area, RENAME, -1, second) == STOP)
        return -1;
    int result = real(from, old, to, name, flags);
    if (!result && area != NOWHERE && first)
        note_paths(RENAMED, 0, 0, first, second);
    return result;
}

int rename(const char *old, const char *name) {
    return renaming(AT_FDCWD, old, AT_FDCWD, name, 0);
}

int renameat(int from, const char *old, int to, const char *name) {
    return renaming(from, old, to, name, 0);
}

int renameat2(int from, const char *old, int to, const char *name, unsigned flags) {
    return renaming(from, old, to, name, flags);
}

int linkat(int from, const char *old, int to, const char *name, int flags) {
    REAL(linkat);
    char one[LONGEST], two[LONGEST];
    const char *first = resolve(from, old, one, sizeof one);
    const char *second = resolve(to, name, two, sizeof two);
    enum area area = area_of(second);
    if (meant(area, RENAME, -1, second) == STOP)
        return -1;
    int result = real(from, old, to, name, flags);
    if (!result && area != NOWHERE && first)
        note_paths(LINKED, 0, 0, first, second);
    return result;
}

int link(const char *old, const char *name) { return linkat(AT_FDCWD, old, AT_FDCWD, name, 0); }

int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat);
    char room[LONGEST];
    const char *full = resolve(at, path, room, sizeof room);
    enum area area = area_of(full);
    if (meant(area, UNLINK, -1, full) == STOP)
        return -1;
    int result = real(at, path, flags);
    if (!result && area != NOWHERE)
        note_paths(UNLINKED, 0, 0, full, NULL);
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int at, const char *path, mode_t mode) {
    REAL(mkdirat);
    char room[LONGEST];
    const char *full = resolve(at, path, room, sizeof room);
    enum area area = area_of(full);
    if (meant(area, MKDIR, -1, full) == STOP)
        return -1;
    int result = real(at, path, mode);
    if (!result && area != NOWHERE)
        note_paths(MADE, 0, 0, full, NULL);
    return result;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* -- how much room there is */

#define ROOM(name, type)                                                                           \
    int name(const char *path, struct type *into) {                                                \
        REAL(name);                                                                                \
        return meant(area_of(path), STATFS, -1, path) == STOP ? -1 : real(path, into);             \
    }
#define ROOM_OF(name, type)                                                                        \
    int name(int fd, struct type *into) {                                                          \
        REAL(name);                                                                                \
        return meant_file(file_of(fd), STATFS, fd) == STOP ? -1 : real(fd, into);                  \
    }
ROOM(statvfs, statvfs)
ROOM(statvfs64, statvfs64)
ROOM(statfs, statfs)
ROOM(statfs64, statfs64)
ROOM_OF(fstatvfs, statvfs)
ROOM_OF(fstatvfs64, statvfs64)
ROOM_OF(fstatfs, statfs)
ROOM_OF(fstatfs64, statfs64)

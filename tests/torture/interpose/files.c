/* Which paths and descriptors are meant. */

#include "torture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DESCRIPTORS = 1 << 16, LONGEST = 4096 };

static struct file files[DESCRIPTORS];
static char roots[AREAS][LONGEST];
static pid_t owner; /* a child of vfork shares our memory, and closes what we keep open */

static void adopt(void) { owner = getpid(); }

__attribute__((constructor(101))) static void read_roots(void) {
    static const char *const names[AREAS] = {"TORTURE_SPOOL", "TORTURE_LOG", "TORTURE_STATE"};
    for (int i = 0; i < DESCRIPTORS; i++)
        files[i].area = NOWHERE;
    for (int i = 0; i < AREAS; i++) {
        const char *root = getenv(names[i]);
        if (root)
            snprintf(roots[i], LONGEST, "%s", root);
    }
    adopt();
    pthread_atfork(NULL, NULL, adopt);
}

enum area area_of(const char *path) {
    enum area found = NOWHERE;
    size_t longest = 0;
    for (int i = 0; path && i < AREAS; i++) {
        size_t length = strlen(roots[i]);
        bool below = length && strncmp(path, roots[i], length) == 0 &&
                     (path[length] == '/' || path[length] == 0);
        if (below && length > longest)
            found = i, longest = length;
    }
    return found;
}

const char *resolve(int at, const char *path, char *into, size_t size) {
    char name[32];
    if (!path)
        return NULL;
    if (path[0] == '/')
        return path;
    if (at == AT_FDCWD) /* a server's working folder is none of those that are meant */
        return NULL;
    snprintf(name, sizeof name, "/proc/self/fd/%d", at);
    ssize_t got = readlink(name, into, size - 1);
    if (got < 0 || (size_t)got + strlen(path) + 2 > size)
        return NULL;
    into[got] = '/';
    strcpy(into + got + 1, path);
    return into;
}

void track(int fd, enum area area) {
    struct stat found;
    if (fd < 0 || fd >= DESCRIPTORS || getpid() != owner)
        return;
    if (area == NOWHERE || fstat(fd, &found) || !(S_ISREG(found.st_mode) || S_ISDIR(found.st_mode))) {
        files[fd].area = NOWHERE;
        return;
    }
    files[fd].folder = S_ISDIR(found.st_mode);
    files[fd].inode = found.st_ino;
    files[fd].area = area;
}

void forget(int fd) {
    if (fd >= 0 && fd < DESCRIPTORS && files[fd].area != NOWHERE && getpid() == owner)
        files[fd].area = NOWHERE;
}

const struct file *file_of(int fd) {
    return fd >= 0 && fd < DESCRIPTORS && files[fd].area != NOWHERE ? &files[fd] : NULL;
}

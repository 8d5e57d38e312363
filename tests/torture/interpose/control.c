/* The control file: counts, and the fault that is in force. */

#include "torture.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct control *control;

__attribute__((constructor(102))) static void map_control(void) {
    const char *path = getenv("TORTURE_CONTROL");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *found = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (found != MAP_FAILED)
        control = found;
}

static uint64_t scattered(uint64_t value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
    return value ^ (value >> 31);
}

static void remember(uint64_t number, enum area area, enum operation operation, int fd,
                     const char *path) {
    char name[32];
    uint64_t place = atomic_fetch_add(&control->failed, 1);
    if (place >= HITS)
        return;
    struct hit *hit = &control->hits[place];
    hit->number = number;
    hit->area = area, hit->operation = operation;
    hit->pid = (uint32_t)getpid(), hit->tid = (uint32_t)syscall(SYS_gettid);
    memset(hit->path, 0, PATH_SHOWN);
    if (path) {
        snprintf(hit->path, PATH_SHOWN, "%s", path);
    } else {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        if (readlink(name, hit->path, PATH_SHOWN - 1) < 0)
            hit->path[0] = 0;
    }
}

enum verdict meant(enum area area, enum operation operation, int fd, const char *path) {
    if (!control || area == NOWHERE)
        return GO;
    atomic_fetch_add(&control->counts[area][operation], 1);
    if (!atomic_load(&control->armed) || !(control->areas >> area & 1) ||
        !(control->operations >> operation & 1))
        return GO;
    uint64_t number = atomic_fetch_add(&control->counted, 1) + 1;
    if (number < control->first || number > control->last ||
        scattered(number + control->seed) % 100 >= control->percent)
        return GO;
    int before = errno;
    remember(number, area, operation, fd, path);
    errno = before;
    if (control->kind == SLOW) {
        usleep((useconds_t)control->microseconds);
        return GO;
    }
    if (control->kind == SHORT)
        return HALVE;
    errno = (int)control->error;
    return STOP;
}

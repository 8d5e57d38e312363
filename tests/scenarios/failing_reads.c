/* Interposed by test_read_errors.py: reads of files *.bodies fail with EIO, so many of a hundred,
   while the file that MTA_TEST_FAILING_READS names is there and has that number. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int percent(void) {
    char text[8] = "";
    const char *path = getenv("MTA_TEST_FAILING_READS");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0)
        return 0;
    ssize_t size = read(file, text, sizeof text - 1);
    close(file);
    return size > 0 ? atoi(text) : 0;
}

static int fails(int fd) {
    char link[32], name[4096];
    int chance = percent();
    if (!chance || rand() % 100 >= chance)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, name, sizeof name);
    return size > 7 && memcmp(name + size - 7, ".bodies", 7) == 0;
}

#define READ(name, type)                                                        \
    ssize_t name(int fd, type, int count, off_t at) {                           \
        static ssize_t (*real)(int, const struct iovec *, int, off_t);          \
        if (!real)                                                              \
            real = dlsym(RTLD_NEXT, #name);                                     \
        if (fails(fd)) {                                                        \
            errno = EIO;                                                        \
            return -1;                                                          \
        }                                                                       \
        return real(fd, parts, count, at);                                      \
    }

READ(preadv, const struct iovec *parts)
READ(preadv64, const struct iovec *parts)

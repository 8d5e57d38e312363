/* The journal: what was done to which file, in one order over all processes and threads.
 *
 * An entry has a number and then its room; its kind is written last, so that one whose process was
 * killed half-way is seen to be none. An entry is made when its call has returned, so a sync covers
 * what was noted before the sync began. */

#include "torture.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct entry *entries;
static char *data;

__attribute__((constructor(103))) static void map_journal(void) {
    const char *path = getenv("TORTURE_JOURNAL");
    if (!control || !control->most_entries || !path)
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    size_t size = control->most_entries * sizeof(struct entry) + control->most_data;
    void *found = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (found == MAP_FAILED)
        return;
    entries = found;
    data = (char *)(entries + control->most_entries);
}

uint64_t mark(void) { return control ? atomic_load(&control->entries) : 0; }

static struct entry *begin(uint64_t inode, uint64_t a, uint64_t b, size_t octets) {
    if (!entries || !atomic_load(&control->journaling))
        return NULL;
    uint64_t number = atomic_fetch_add(&control->entries, 1);
    uint64_t at = atomic_fetch_add(&control->data, octets);
    if (number >= control->most_entries || at + octets > control->most_data) {
        atomic_fetch_add(&control->lost, 1);
        return NULL;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct entry *entry = &entries[number];
    entry->length = (uint32_t)octets;
    entry->inode = inode, entry->a = a, entry->b = b, entry->at = at;
    entry->nanoseconds = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    return entry;
}

static void finish(struct entry *entry, enum entry_kind kind) {
    atomic_store_explicit(&entry->kind, (uint32_t)kind, memory_order_release);
}

void note(enum entry_kind kind, uint64_t inode, uint64_t a, uint64_t b) {
    struct entry *entry = begin(inode, a, b, 0);
    if (entry)
        finish(entry, kind);
}

void note_paths(enum entry_kind kind, uint64_t inode, uint64_t a, const char *one, const char *two) {
    size_t first = strlen(one) + 1, second = two ? strlen(two) + 1 : 0;
    struct entry *entry = begin(inode, a, 0, first + second);
    if (!entry)
        return;
    memcpy(data + entry->at, one, first);
    if (two)
        memcpy(data + entry->at + first, two, second);
    finish(entry, kind);
}

static bool zeros(const struct iovec *parts, size_t size) {
    for (; size; parts++) {
        size_t length = parts->iov_len < size ? parts->iov_len : size;
        const char *at = parts->iov_base;
        if (length && (at[0] || memcmp(at, at + 1, length - 1)))
            return false;
        size -= length;
    }
    return true;
}

void note_write(uint64_t inode, uint64_t offset, const struct iovec *parts, size_t size) {
    bool empty = zeros(parts, size);
    struct entry *entry = begin(inode, offset, size, empty ? 0 : size);
    if (!entry)
        return;
    char *to = data + entry->at;
    for (size_t left = empty ? 0 : size; left; parts++) {
        size_t length = parts->iov_len < left ? parts->iov_len : left;
        memcpy(to, parts->iov_base, length);
        to += length, left -= length;
    }
    finish(entry, empty ? ZEROED : WRITTEN);
}

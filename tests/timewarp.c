/* Clocks of a process that a test moves, by LD_PRELOAD: what the C library tells of the time is
 * what the kernel says and an offset from the file TIMEWARP, three int64 of nanoseconds: wall
 * clock, CLOCK_MONOTONIC, CLOCK_BOOTTIME. Times that are waited for are taken back to the kernel's.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static volatile int64_t none[3];
static volatile int64_t *offsets = none;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("TIMEWARP");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *found = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED)
        offsets = found;
    close(file);
}

static int64_t offset(clockid_t clock)
{
    switch (clock) {
    case CLOCK_REALTIME: case CLOCK_REALTIME_COARSE: case CLOCK_TAI:
        return offsets[0];
    case CLOCK_MONOTONIC: case CLOCK_MONOTONIC_COARSE: case CLOCK_MONOTONIC_RAW:
        return offsets[1];
    case CLOCK_BOOTTIME:
        return offsets[2];
    }
    return 0;
}

static void shift(struct timespec *at, int64_t by)
{
    int64_t whole = at->tv_sec * SECOND + at->tv_nsec + by;
    at->tv_sec = whole / SECOND;
    at->tv_nsec = whole % SECOND;
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int code = (int) syscall(SYS_clock_gettime, clock, at);
    if (!code)
        shift(at, offset(clock));
    return code;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    (void) zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

/* A condition does not tell its clock: only one of the two has such numbers. */
static struct timespec real(const struct timespec *until)
{
    struct timespec at = *until;
    shift(&at, -offset(at.tv_sec > SECOND / 2 ? CLOCK_REALTIME : CLOCK_MONOTONIC));
    return at;
}

#define NEXT(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    static __typeof__(&pthread_cond_timedwait) next;
    if (!next)
        next = (__typeof__(next)) dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    struct timespec at = real(until);
    return next(condition, mutex, &at);
}

int pthread_cond_clockwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           clockid_t clock, const struct timespec *restrict until)
{
    static __typeof__(&pthread_cond_clockwait) next;
    if (!next)
        next = NEXT(pthread_cond_clockwait);
    struct timespec at = *until;
    shift(&at, -offset(clock));
    return next(condition, mutex, clock, &at);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    static __typeof__(&sem_timedwait) next;
    if (!next)
        next = NEXT(sem_timedwait);
    struct timespec at = real(until);
    return next(semaphore, &at);
}

int sem_clockwait(sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict until)
{
    static __typeof__(&sem_clockwait) next;
    if (!next)
        next = NEXT(sem_clockwait);
    struct timespec at = *until;
    shift(&at, -offset(clock));
    return next(semaphore, clock, &at);
}

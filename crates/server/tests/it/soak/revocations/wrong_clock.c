/* Preloaded into the server: its wall clock is wrong by as many seconds as the eight bytes of the file WRONG_CLOCK say.
 * They may change at any time. The clocks that nobody sets are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int clock_gettime_t(clockid_t, struct timespec *);

static clock_gettime_t *real;
static const volatile int64_t *seconds;

static void check(int succeeded, const char *what) {
    if (!succeeded) {
        fprintf(stderr, "wrong_clock: %s\n", what);
        abort();
    }
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("WRONG_CLOCK");
    check(path != NULL, "WRONG_CLOCK is needed");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    check(fd >= 0, path);
    void *mapped = mmap(NULL, sizeof *seconds, PROT_READ, MAP_SHARED, fd, 0);
    check(mapped != MAP_FAILED && close(fd) == 0, path);
    real = (clock_gettime_t *)dlsym(RTLD_NEXT, "clock_gettime");
    check(real != NULL, "there is no clock_gettime");
    seconds = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    /* Other libraries may ask before this one has started. */
    if (seconds == NULL)
        return ((clock_gettime_t *)dlsym(RTLD_NEXT, "clock_gettime"))(clock, at);
    int result = real(clock, at);
    if (result == 0 && clock == CLOCK_REALTIME)
        at->tv_sec += *seconds;
    return result;
}

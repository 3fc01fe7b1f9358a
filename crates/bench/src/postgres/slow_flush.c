/* Makes a disk slow to flush: after each fdatasync and fsync of the process it is loaded into, it waits for as many
   microseconds as the first four bytes of a file say. The file is mapped, so that the delay can be changed while the
   process runs, and its children inherit the mapping. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int flush_function(int);

static const volatile uint32_t *delay_micros;
static flush_function *real_fdatasync;
static flush_function *real_fsync;

__attribute__((constructor)) static void prepare(void)
{
    const char *path = getenv("GRANTRY_BENCH_FLUSH_DELAY");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    real_fdatasync = (flush_function *)dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = (flush_function *)dlsym(RTLD_NEXT, "fsync");
    if (file >= 0) {
        void *mapped = mmap(NULL, sizeof(uint32_t), PROT_READ, MAP_SHARED, file, 0);
        if (mapped != MAP_FAILED)
            delay_micros = mapped;
        close(file);
    }
}

/* Until a point in time, so that the signals that PostgreSQL's processes send one another do not shorten it. */
static void wait_for_delay(void)
{
    uint32_t micros = delay_micros ? *delay_micros : 0;
    int error = errno;
    struct timespec until;
    if (micros == 0)
        return;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(micros % 1000000) * 1000;
    until.tv_sec += micros / 1000000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
    errno = error;
}

int fdatasync(int file)
{
    int result = real_fdatasync(file);
    wait_for_delay();
    return result;
}

int fsync(int file)
{
    int result = real_fsync(file);
    wait_for_delay();
    return result;
}

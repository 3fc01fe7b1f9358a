/* Preloaded into the server: notes what its disk was told to keep, so that a test can take away all the rest.
 *
 * A line for each sync that succeeded below POWER_LOSS_ROOT, with what the disk had been given before it began:
 *     file INODE SIZE
 *     directory INODE NAME INODE NAME INODE ...
 * A file that is about to lose its name stays in POWER_LOSS_KEPT under its inode's number, since a disk forgets a
 * removal, too, that was not synced. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *root, *record, *kept;

__attribute__((constructor)) static void start(void) {
    root = getenv("POWER_LOSS_ROOT");
    record = getenv("POWER_LOSS_RECORD");
    kept = getenv("POWER_LOSS_KEPT");
    if (!root || !record || !kept) {
        fprintf(stderr, "power_loss: POWER_LOSS_ROOT, POWER_LOSS_RECORD and POWER_LOSS_KEPT are needed\n");
        abort();
    }
}

static int is_below_root(const char *path) {
    size_t length = strlen(root);
    return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* The path of an open file, if it is one of ours. */
static int path_of(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return 0;
    path[length] = '\0';
    return is_below_root(path);
}

static void check(int succeeded, const char *what) {
    if (!succeeded) {
        fprintf(stderr, "power_loss: %s: %s\n", what, strerror(errno));
        abort();
    }
}

/* One write, so that lines of several threads do not mix. */
static void note(const char *line, size_t length) {
    int fd = open(record, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    check(fd >= 0 && write(fd, line, length) == (ssize_t)length && close(fd) == 0, record);
}

static void describe(const char *path, const struct stat *found, FILE *line) {
    if (!S_ISDIR(found->st_mode)) {
        fprintf(line, "file %lu %lld\n", (unsigned long)found->st_ino, (long long)found->st_size);
        return;
    }
    fprintf(line, "directory %lu", (unsigned long)found->st_ino);
    DIR *directory = opendir(path);
    check(directory != NULL, path);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            fprintf(line, " %s %lu", entry->d_name, (unsigned long)entry->d_ino);
    closedir(directory);
    fputc('\n', line);
}

static int synced(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    char path[PATH_MAX], *line = NULL;
    size_t length = 0;
    struct stat found;
    if (path_of(fd, path) && fstat(fd, &found) == 0) {
        FILE *stream = open_memstream(&line, &length);
        describe(path, &found, stream);
        fclose(stream);
    }
    int result = real(fd), error = errno;
    if (line && result == 0)
        note(line, length);
    free(line);
    errno = error;
    return result;
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }

static void keep(const char *path) {
    struct stat found;
    char name[PATH_MAX];
    int error = errno;
    if (is_below_root(path) && lstat(path, &found) == 0 && S_ISREG(found.st_mode)) {
        snprintf(name, sizeof name, "%s/%lu", kept, (unsigned long)found.st_ino);
        check(link(path, name) == 0 || errno == EEXIST, name);
    }
    errno = error;
}

int unlink(const char *path) {
    keep(path);
    return ((int (*)(const char *))dlsym(RTLD_NEXT, "unlink"))(path);
}

int rename(const char *from, const char *to) {
    keep(to);
    return ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(from, to);
}

/* A disk that says that it did not keep what it was given, while the file that LEADERLOCK_BAD_DISK names is there: for
 * LD_PRELOAD. What is on it, and a power cut would leave, of leader.db and its log: the same names with ".disk". As in
 * the kernel, what could not be synced is not tried again, unless it is written again. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 4096 };

static char dirty[2][PAGES];

static char *path_of(int file, char *path, char **pages) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 8);
    path[length < 0 ? 0 : length] = 0;
    char *name = strrchr(path, '/');
    int is_log = name && !strcmp(name, "/leader.db-wal");
    *pages = dirty[is_log];
    return is_log || (name && !strcmp(name, "/leader.db")) ? path : NULL;
}

static int synced(long call, int file) {
    char path[PATH_MAX], page[PAGE], *pages;
    char *ours = path_of(file, path, &pages);
    const char *bad = getenv("LEADERLOCK_BAD_DISK");
    int failed = bad && !access(bad, F_OK);
    if (ours && !failed) {
        int disk = open(strcat(path, ".disk"), O_WRONLY | O_CREAT, 0600);
        for (long n = 0; n < PAGES; n++)
            if (pages[n])
                pwrite(disk, page, pread(file, page, PAGE, n * PAGE), n * PAGE);
        close(disk);
    }
    if (ours)
        memset(pages, 0, PAGES);
    if (failed) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(call, file);
}

int fsync(int file) { return synced(SYS_fsync, file); }

int fdatasync(int file) { return synced(SYS_fdatasync, file); }

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    char path[PATH_MAX], *pages;
    if (size && path_of(file, path, &pages))
        for (long n = at / PAGE; n <= (long)(at + size - 1) / PAGE && n < PAGES; n++)
            pages[n] = 1;
    return syscall(SYS_pwrite64, file, data, size, at);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return pwrite64(file, data, size, at); }

/* A disk that says that it did not keep what it was given, while the file that LEADERLOCK_BAD_DISK names is there: for
 * LD_PRELOAD. */
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int synced(long call, int file) {
    const char *bad = getenv("LEADERLOCK_BAD_DISK");
    if (bad && !access(bad, F_OK)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(call, file);
}

int fsync(int file) { return synced(SYS_fsync, file); }

int fdatasync(int file) { return synced(SYS_fdatasync, file); }

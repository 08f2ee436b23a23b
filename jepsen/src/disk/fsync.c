/* Fails fsync and fdatasync with EIO while a file is there: $JEPSEN_FSYNC_FAILS.<program>, such as
   "….postgres". Preloaded into the processes of a host; see fsync.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int fails(void)
{
    char path[512];
    const char *prefix = getenv("JEPSEN_FSYNC_FAILS");
    int before = errno, found;

    if (prefix == NULL)
        return 0;
    snprintf(path, sizeof path, "%s.%s", prefix, program_invocation_short_name);
    found = access(path, F_OK) == 0;
    errno = before;
    return found;
}

static int real(const char *name, int fd)
{
    int (*call)(int) = (int (*)(int)) dlsym(RTLD_NEXT, name);

    return call(fd);
}

int fsync(int fd)
{
    if (fails()) {
        errno = EIO;
        return -1;
    }
    return real("fsync", fd);
}

int fdatasync(int fd)
{
    if (fails()) {
        errno = EIO;
        return -1;
    }
    return real("fdatasync", fd);
}

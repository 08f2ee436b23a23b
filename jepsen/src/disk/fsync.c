/* Fails fsync and fdatasync with EIO while a file is there: $JEPSEN_FSYNC_FAILS.<program>, such as
   "….postgres". Preloaded into the processes of a host; see fsync.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[512];

/* Before anybody writes over the name: PostgreSQL shows what each process does in its place. */
__attribute__((constructor)) static void remember(void)
{
    const char *prefix = getenv("JEPSEN_FSYNC_FAILS");

    if (prefix != NULL)
        snprintf(path, sizeof path, "%s.%s", prefix, program_invocation_short_name);
}

static int fails(void)
{
    int before = errno, found;

    if (path[0] == 0)
        return 0;
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

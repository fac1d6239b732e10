/* Preloaded: counts the calls that write below a folder; the n-th kills the process or fails.

   fault_server() is called by the server once: the count lies in memory that it shares with its
   copies. fault_arm(folder, n, error, only) is called in a copy: from the n-th call on all fail with
   `error`, or the n-th only; error 0: the n-th ends the process by SIGKILL; n 0: they are only
   counted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[PATH_MAX];
static size_t length; /* 0: not armed */
static long last, number;
static int failure, once;
static long *calls = &number;

void fault_server(void)
{
    calls = mmap(NULL, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

long fault_calls(void) { return *calls; }

void fault_arm(const char *folder, long at, int error, int only)
{
    snprintf(below, sizeof below, "%s/", folder);
    last = at;
    failure = error;
    once = only;
    *calls = 0;
    length = strlen(below);
}

static int is_below(const char *path) { return strncmp(path, below, length) == 0; }

/* Whether this call fails. */
static int refused(void)
{
    long at = __sync_add_and_fetch(calls, 1);
    if (last == 0 || at < last || (once && at > last))
        return 0;
    if (failure == 0) {
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
    errno = failure;
    return 1;
}

static int refused_path(int folder, const char *path)
{
    char whole[2 * PATH_MAX], link[64], start[PATH_MAX] = "";
    if (length == 0 || path == NULL)
        return 0;
    if (path[0] != '/') {
        if (folder == AT_FDCWD) {
            if (getcwd(start, sizeof start) == NULL)
                return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t count = readlink(link, start, sizeof start - 1);
            if (count < 0)
                return 0;
            start[count] = 0;
        }
    }
    snprintf(whole, sizeof whole, "%s%s%s", start, start[0] ? "/" : "", path);
    return is_below(whole) && refused();
}

static int refused_file(int file)
{
    char link[64], path[PATH_MAX];
    if (length == 0)
        return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t count = readlink(link, path, sizeof path - 1);
    errno = before;
    if (count < 0)
        return 0;
    path[count] = 0;
    return is_below(path) && refused();
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (real == NULL) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);

#define OF_FILE(result, name, declared, given) \
    result name declared \
    { \
        REAL(name) \
        return refused_file(file) ? -1 : real given; \
    }

OF_FILE(ssize_t, write, (int file, const void *data, size_t size), (file, data, size))
OF_FILE(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at))
OF_FILE(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
OF_FILE(ssize_t, writev, (int file, const struct iovec *parts, int count), (file, parts, count))
OF_FILE(ssize_t, pwritev, (int file, const struct iovec *parts, int count, off_t at), (file, parts, count, at))
OF_FILE(int, ftruncate, (int file, off_t size), (file, size))
OF_FILE(int, ftruncate64, (int file, off64_t size), (file, size))
OF_FILE(int, fsync, (int file), (file))
OF_FILE(int, fdatasync, (int file), (file))
OF_FILE(ssize_t, sendfile, (int file, int from, off_t *at, size_t size), (file, from, at, size))
OF_FILE(ssize_t, sendfile64, (int file, int from, off64_t *at, size_t size), (file, from, at, size))

ssize_t copy_file_range(int from, off64_t *at, int file, off64_t *to, size_t size, unsigned flags)
{
    REAL(copy_file_range)
    return refused_file(file) ? -1 : real(from, at, file, to, size, flags);
}

#define OF_PATH(name, declared, given, folder, path) \
    int name declared \
    { \
        REAL(name) \
        return refused_path(folder, path) ? -1 : real given; \
    }

OF_PATH(rename, (const char *old, const char *path), (old, path), AT_FDCWD, path)
OF_PATH(renameat, (int from, const char *old, int to, const char *path), (from, old, to, path), to, path)
OF_PATH(renameat2, (int from, const char *old, int to, const char *path, unsigned flags), (from, old, to, path, flags), to, path)
OF_PATH(link, (const char *old, const char *path), (old, path), AT_FDCWD, path)
OF_PATH(unlink, (const char *path), (path), AT_FDCWD, path)
OF_PATH(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), folder, path)
OF_PATH(rmdir, (const char *path), (path), AT_FDCWD, path)
OF_PATH(mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
OF_PATH(mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), folder, path)
OF_PATH(truncate, (const char *path, off_t size), (path, size), AT_FDCWD, path)
OF_PATH(truncate64, (const char *path, off64_t size), (path, size), AT_FDCWD, path)

/* Those that create or empty a file, or open it to be written. */
static int opens_to_write(int flags) { return flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR); }

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        REAL(name) \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (opens_to_write(flags) && refused_path(AT_FDCWD, path)) \
            return -1; \
        return real(path, flags, mode); \
    }

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) \
    { \
        REAL(name) \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (opens_to_write(flags) && refused_path(folder, path)) \
            return -1; \
        return real(folder, path, flags, mode); \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

FILE *fopen(const char *path, const char *mode)
{
    REAL(fopen)
    return mode[0] != 'r' && refused_path(AT_FDCWD, path) ? NULL : real(path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
    REAL(fopen64)
    return mode[0] != 'r' && refused_path(AT_FDCWD, path) ? NULL : real(path, mode);
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file)
{
    REAL(fwrite)
    return refused_file(fileno(file)) ? 0 : real(data, size, count, file);
}

// Preloaded before the C library: lets the n-th write or sync of a recording fail, or be slow.
// Only files with ".pyprof" in their path are touched: recordings, their journals, temporary ones.
// What happens is set by the environment DISK_FAULT="KIND FIRST COUNT", or by a call of
// `disk_fault`, which counts anew: KIND is an errno, -1 for half a write or -2 for a wait of a
// second; FIRST the number of the first call that fails, from 1; COUNT how many do.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static atomic_long calls, kind, first, count;

// Sets what fails from now on; returns how many calls there were since the last time.
long disk_fault(long what, long from, long many) {
  kind = what;
  first = from;
  count = many;
  return atomic_exchange(&calls, 0);
}

__attribute__((constructor)) static void begin(void) {
  const char* text = getenv("DISK_FAULT");
  long what, from, many;
  if (text != NULL && sscanf(text, "%ld %ld %ld", &what, &from, &many) == 3) {
    disk_fault(what, from, many);
  }
}

static int is_recording(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return strstr(path, ".pyprof") != NULL;
}

// 0: let it pass, after a wait perhaps.
static int fault(int fd) {
  if (!is_recording(fd)) return 0;
  const long number = atomic_fetch_add(&calls, 1) + 1;
  if (kind == 0 || number < first || number >= first + count) return 0;
  if (kind != -2) return (int)kind;
  const struct timespec second = {1, 0};
  nanosleep(&second, NULL);
  return 0;
}

#define WRITE(name, type)                                                         \
  ssize_t name(int fd, const void* data, size_t size, type at) {                  \
    static ssize_t (*real)(int, const void*, size_t, type);                       \
    if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, #name);                   \
    const int found = fault(fd);                                                  \
    if (found > 0) {                                                              \
      errno = found;                                                              \
      return -1;                                                                  \
    }                                                                             \
    return real(fd, data, found == -1 && size > 1 ? size / 2 : size, at);         \
  }
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)

#define SYNC(name)                                                \
  int name(int fd) {                                              \
    static int (*real)(int);                                      \
    if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, #name);   \
    const int found = fault(fd);                                  \
    if (found > 0) {                                              \
      errno = found;                                              \
      return -1;                                                  \
    }                                                             \
    return real(fd);                                              \
  }
SYNC(fsync)
SYNC(fdatasync)

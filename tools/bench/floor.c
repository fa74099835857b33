// The floor: what the same reads at the same pace cost without anything around them.
//
//   floor INTERVAL_NS SECONDS [-n LIBNVIDIA_ML] FILE...
//
// Absolute deadlines, one pread and one number parsed per file and tick, one energy call per GPU.
// Prints one JSON object with its own CPU time.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 64 };

static int64_t now_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

typedef int (*init_fn)(void);
typedef int (*count_fn)(unsigned *);
typedef int (*handle_fn)(unsigned, void **);
typedef int (*energy_fn)(void *, unsigned long long *);

static energy_fn energy;
static void *devices[MOST];
static unsigned device_count;

static int open_library(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return -1;
  init_fn init = (init_fn)dlsym(library, "nvmlInit_v2");
  count_fn count = (count_fn)dlsym(library, "nvmlDeviceGetCount_v2");
  handle_fn handle = (handle_fn)dlsym(library, "nvmlDeviceGetHandleByIndex_v2");
  energy = (energy_fn)dlsym(library, "nvmlDeviceGetTotalEnergyConsumption");
  if (!init || !count || !handle || !energy || init() != 0 || count(&device_count) != 0) return -1;
  if (device_count > MOST) device_count = MOST;
  for (unsigned i = 0; i < device_count; ++i) {
    if (handle(i, &devices[i]) != 0) return -1;
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  const int64_t interval = atoll(argv[1]);
  const int64_t length = (int64_t)(atof(argv[2]) * 1e9);
  int files[MOST], file_count = 0;
  for (int i = 3; i < argc; ++i) {
    if (strcmp(argv[i], "-n") == 0 && i + 1 < argc) {
      if (open_library(argv[++i]) != 0) return 3;
    } else if (file_count < MOST) {
      files[file_count] = open(argv[i], O_RDONLY | O_CLOEXEC);
      if (files[file_count++] < 0) return 3;
    }
  }
  prctl(PR_SET_TIMERSLACK, 1000UL);
  unsigned long long sum = 0, ticks = 0, late = 0;
  const int64_t cpu_before = now_ns(CLOCK_THREAD_CPUTIME_ID);
  const int64_t begin = now_ns(CLOCK_MONOTONIC);
  int64_t deadline = begin;
  while (deadline < begin + length) {
    deadline += interval;
    const struct timespec at = {deadline / 1000000000, deadline % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    const int64_t now = now_ns(CLOCK_MONOTONIC);
    if (now - deadline > interval / 2) ++late;
    if (now > deadline + interval) deadline += (now - deadline) / interval * interval;
    for (int i = 0; i < file_count; ++i) {
      char text[32];
      const ssize_t got = pread(files[i], text, sizeof text - 1, 0);
      uint64_t value = 0;
      for (ssize_t k = 0; k < got && text[k] >= '0' && text[k] <= '9'; ++k) {
        value = value * 10 + (uint64_t)(text[k] - '0');
      }
      sum += value;
    }
    for (unsigned i = 0; i < device_count; ++i) {
      unsigned long long value = 0;
      energy(devices[i], &value);
      sum += value;
    }
    ++ticks;
  }
  const double cpu_s = (double)(now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_before) * 1e-9;
  const double wall_s = (double)(now_ns(CLOCK_MONOTONIC) - begin) * 1e-9;
  printf("{\"cpu_s\": %.9f, \"wall_s\": %.9f, \"ticks\": %llu, \"late\": %llu, \"check\": %llu}\n", cpu_s,
         wall_s, ticks, late, sum);
  return 0;
}

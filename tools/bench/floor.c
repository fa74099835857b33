// The floor: what the same reads at the same pace cost without anything around them.
//
//   floor INTERVAL_NS SECONDS [-n LIBNVIDIA_ML] FILE...
//
// Absolute deadlines, one pread and one number parsed (by the sampler's own way of parsing) per file and
// tick, one energy call per GPU. Prints one JSON object with its own CPU time.
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
static int files[MOST], file_count;
static int64_t interval;
static unsigned long long sum, late;

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

static uint64_t parse(const char *at, const char *end) {
  uint64_t number = 0;
  for (; at < end && *at >= '0' && *at <= '9'; ++at) {
    if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
        __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number)) {
      return 0;
    }
  }
  return number;
}

// One wake and all its reads; returns the next deadline.
__attribute__((noinline)) int64_t tick(int64_t deadline) {
  const struct timespec at = {deadline / 1000000000, deadline % 1000000000};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
  const int64_t now = now_ns(CLOCK_MONOTONIC);
  if (now - deadline > interval / 2) ++late;
  if (now > deadline + interval) deadline += (now - deadline) / interval * interval;
  for (int i = 0; i < file_count; ++i) {
    char text[32];
    const ssize_t got = pread(files[i], text, sizeof text, 0);
    if (got > 0) sum += parse(text, text + got);
  }
  for (unsigned i = 0; i < device_count; ++i) {
    unsigned long long value = 0;
    energy(devices[i], &value);
    sum += value;
  }
  return deadline + interval;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  interval = atoll(argv[1]);
  const int64_t length = (int64_t)(atof(argv[2]) * 1e9);
  for (int i = 3; i < argc; ++i) {
    if (strcmp(argv[i], "-n") == 0 && i + 1 < argc) {
      if (open_library(argv[++i]) != 0) return 3;
    } else if (file_count < MOST) {
      files[file_count] = open(argv[i], O_RDONLY | O_CLOEXEC);
      if (files[file_count++] < 0) return 3;
    }
  }
  prctl(PR_SET_TIMERSLACK, 1000UL);
  unsigned long long ticks = 0;
  const int64_t cpu_before = now_ns(CLOCK_THREAD_CPUTIME_ID);
  const int64_t begin = now_ns(CLOCK_MONOTONIC);
  for (int64_t deadline = begin + interval; deadline < begin + length; ++ticks) {
    deadline = tick(deadline);
  }
  const double cpu_s = (double)(now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_before) * 1e-9;
  const double wall_s = (double)(now_ns(CLOCK_MONOTONIC) - begin) * 1e-9;
  printf("{\"cpu_s\": %.9f, \"wall_s\": %.9f, \"ticks\": %llu, \"late\": %llu, \"check\": %llu}\n", cpu_s,
         wall_s, ticks, late, sum);
  return 0;
}

// The CPU time of a party, followed while its processes come and go.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace pyprof {

// Whose share is asked for: the descendants of a process, or the members of a cgroup.
struct Party {
  int32_t root = 0;       // process id
  bool with_root = true;  // false: only what the process starts
  std::string cgroup;     // folder of a cgroup, which then takes the place of the process
};

// What /proc/PID/stat tells (proc_pid_stat(5)); times in clock ticks.
struct ProcessStat {
  int32_t parent = 0;
  uint64_t own = 0;     // user and system time of all its threads
  uint64_t reaped = 0;  // the same of its children, and theirs, that it has waited for
  uint64_t threads = 0;
  uint64_t start = 0;  // since boot: tells a process from a later one of the same id
  int cpu = 0;         // it ran there last
};
bool parse_stat(const char* text, ProcessStat& stat) noexcept;

// CPU time that a process used between two looks is kept when it has ended, as long as a member of
// the party waits for it. Where it ran is told by where its threads ran last. Any thread may ask.
class Follower {
 public:
  // `package_of` has the package of each CPU by number, all below `packages`.
  Follower(std::string proc, Party party, std::vector<size_t> package_of, size_t packages);

  // CPU seconds in each package since the first look; false if nothing could be read.
  bool look(std::vector<double>& seconds);
  // Looks if nobody has for a while, so that `holds` is not out of date.
  void keep_fresh();
  bool holds(int32_t pid) const;

 private:
  struct Member {
    ProcessStat last;
    std::unordered_map<int32_t, uint64_t> threads;  // ticks of each
    bool seen = false;
    bool fresh = true;
  };
  struct Tally {
    uint64_t own = 0, reaped = 0, vanished = 0;  // ticks
  };

  bool look_now();
  bool look_at_tree();
  bool look_at_cgroup();
  void visit(int32_t pid, bool walk, Tally& tally, std::vector<int32_t>& next);
  void visit_threads(int32_t pid, Member& member, std::vector<int32_t>& next);
  void find_children(std::vector<int32_t>& next) const;
  void forget_vanished(Tally& tally);
  void collect_cgroup(const std::string& folder, int depth, std::vector<int32_t>& pids) const;
  void weigh(int cpu, uint64_t ticks);
  void spread(double seconds);

  const std::string proc_;
  const Party party_;
  const std::vector<size_t> package_of_;
  const bool lists_children_;  // the kernel tells the children of a thread
  const double seconds_per_tick_;
  mutable std::mutex mutex_;  // guards what follows
  std::unordered_map<int32_t, Member> members_;
  std::vector<double> weights_, last_weights_;
  std::vector<double> seconds_;
  double cgroup_s_ = 0;
  bool started_ = false;
  int64_t looked_ns_ = 0;
  uint64_t looks_ = 0, walk_every_ = 1;
};

}  // namespace pyprof

#include "sources/follower.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "core/clock.h"
#include "sources/file.h"

namespace pyprof {
namespace {

namespace fs = std::filesystem;

// A walk over all threads that costs more than this is made at every second look, and so on.
constexpr int64_t kCheapNs = 2 * kNsPerMs;
constexpr uint64_t kSeldom = 60;
constexpr int64_t kFreshNs = kNsPerS / 2;
constexpr int kDeepest = 16;
constexpr size_t kMostMembers = 65536;

// The whole of a small file; nothing if it can't be read.
std::optional<std::string> read_small(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::string text;
  char part[4096];
  ssize_t got;
  while ((got = ::read(fd, part, sizeof part)) > 0) text.append(part, static_cast<size_t>(got));
  ::close(fd);
  if (got < 0) return std::nullopt;
  return text;
}

std::string folder_of(const std::string& proc, int32_t pid) {
  return proc + "/" + std::to_string(pid);
}

bool read_stat(const std::string& folder, ProcessStat& stat) {
  const auto text = read_small(folder + "/stat");
  return text && parse_stat(text->c_str(), stat);
}

// Entries of a folder whose names are numbers.
std::vector<int32_t> numbered(const std::string& folder) {
  std::vector<int32_t> numbers;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const bool digits =
        std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
    if (digits && name.size() < 10) numbers.push_back(std::atoi(name.c_str()));
  }
  return numbers;
}

void read_numbers(const std::string& text, std::vector<int32_t>& out) {
  const char* at = text.c_str();
  for (char* end = nullptr;; at = end) {
    const long number = std::strtol(at, &end, 10);
    if (end == at) return;
    if (number > 0) out.push_back(static_cast<int32_t>(number));
  }
}

bool tells_children(const std::string& proc) {
  const std::string self = folder_of(proc, getpid());
  return ::access((self + "/task/" + std::to_string(getpid()) + "/children").c_str(), R_OK) == 0;
}

uint64_t rise(uint64_t before, uint64_t after) { return after > before ? after - before : 0; }

// CPU seconds of a cgroup: version 2 tells microseconds, version 1 nanoseconds.
std::optional<double> cgroup_seconds(const std::string& folder) {
  if (const auto text = read_small(folder + "/cpu.stat")) {
    const size_t at = text->find("usage_usec ");
    if (at != std::string::npos) return std::strtod(text->c_str() + at + 11, nullptr) * 1e-6;
  }
  if (const auto usage_ns = read_uint(folder + "/cpuacct.usage")) {
    return static_cast<double>(*usage_ns) * 1e-9;
  }
  return std::nullopt;
}

}  // namespace

bool parse_stat(const char* text, ProcessStat& stat) noexcept {
  const char* at = std::strrchr(text, ')');  // the name before it may hold anything
  if (at == nullptr) return false;
  uint64_t fields[37] = {};  // from the third one, the state, on
  size_t count = 0;
  for (++at; count < 37; ++count) {
    while (*at == ' ') ++at;
    if (*at == '\0' || *at == '\n') break;
    char* end = nullptr;
    fields[count] = count == 0 ? 0 : std::strtoull(at, &end, 10);
    at = count == 0 ? at + 1 : end;
    while (*at != ' ' && *at != '\0' && *at != '\n') ++at;
  }
  if (count < 20) return false;
  stat = {static_cast<int32_t>(fields[1]),
          fields[11] + fields[12],
          fields[13] + fields[14],
          fields[17],
          fields[19],
          static_cast<int>(fields[36])};
  return true;
}

Follower::Follower(std::string proc, Party party, std::vector<size_t> package_of, size_t packages)
    : proc_(std::move(proc)),
      party_(std::move(party)),
      package_of_(std::move(package_of)),
      lists_children_(tells_children(proc_)),
      seconds_per_tick_(1.0 / static_cast<double>(std::max(1L, sysconf(_SC_CLK_TCK)))),
      weights_(packages),
      last_weights_(packages, 1.0),
      seconds_(packages) {}

bool Follower::holds(int32_t pid) const {
  const std::lock_guard lock(mutex_);
  const auto found = members_.find(pid);
  if (found == members_.end()) return false;
  return party_.with_root || !party_.cgroup.empty() || pid != party_.root;
}

bool Follower::look(std::vector<double>& seconds) {
  const std::lock_guard lock(mutex_);
  if (!look_now()) return false;
  seconds = seconds_;
  return true;
}

void Follower::keep_fresh() {
  const std::lock_guard lock(mutex_);
  if (monotonic_ns() - looked_ns_ > kFreshNs) look_now();
}

bool Follower::look_now() {
  looked_ns_ = monotonic_ns();
  const int64_t before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  const bool walked = looks_ % walk_every_ == 0;
  const bool told = party_.cgroup.empty() ? look_at_tree() : look_at_cgroup();
  if (walked) {
    const int64_t cost = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
    walk_every_ = std::clamp<uint64_t>(static_cast<uint64_t>(cost / kCheapNs), 1, kSeldom);
    looks_ = 0;
  }
  ++looks_;
  started_ = started_ || told;
  return told;
}

bool Follower::look_at_tree() {
  const bool walk = looks_ % walk_every_ == 0;
  Tally tally;
  std::fill(weights_.begin(), weights_.end(), 0.0);
  for (auto& [pid, member] : members_) member.seen = false;
  std::vector<int32_t> next{party_.root};
  for (const auto& [pid, member] : members_) next.push_back(pid);
  if (!lists_children_ && walk) find_children(next);
  for (size_t at = 0; at < next.size() && members_.size() < kMostMembers; ++at) {
    visit(next[at], walk, tally, next);
  }
  if (members_.empty()) return false;
  forget_vanished(tally);
  // What a parent has waited for was partly counted while it ran.
  const uint64_t ticks = tally.own + rise(tally.vanished, tally.reaped);
  if (started_) spread(static_cast<double>(ticks) * seconds_per_tick_);
  return true;
}

// One process: what it has used since the last look, and whom it has started.
void Follower::visit(int32_t pid, bool walk, Tally& tally, std::vector<int32_t>& next) {
  const auto known = members_.find(pid);
  if (known != members_.end() && known->second.seen) return;
  ProcessStat stat;
  const std::string folder = folder_of(proc_, pid);
  if (!read_stat(folder, stat)) return;
  if (known != members_.end() && known->second.last.start != stat.start) return;
  const bool counts = party_.with_root || pid != party_.root;
  Member& member = members_[pid];
  if (member.fresh) {
    // All that a newcomer has used is new, unless it was there before the first look.
    if (started_ && pid != party_.root) {
      tally.own += stat.own + stat.reaped;
      weigh(stat.cpu, stat.own + stat.reaped);
    }
  } else {
    if (counts) tally.own += rise(member.last.own, stat.own);
    tally.reaped += rise(member.last.reaped, stat.reaped);
    if (counts && stat.threads <= 1) weigh(stat.cpu, rise(member.last.own, stat.own));
  }
  member.last = stat;
  member.seen = true;
  if (walk) visit_threads(pid, member, next);
  member.fresh = false;
}

void Follower::visit_threads(int32_t pid, Member& member, std::vector<int32_t>& next) {
  const bool several = member.last.threads > 1;
  const bool by_thread = several && seconds_.size() > 1;
  if (!by_thread && !lists_children_) return;
  const std::string tasks = folder_of(proc_, pid) + "/task";
  const std::vector<int32_t> threads = several ? numbered(tasks) : std::vector{pid};
  std::unordered_map<int32_t, uint64_t> ticks;
  for (const int32_t thread : threads) {
    const std::string folder = tasks + "/" + std::to_string(thread);
    if (lists_children_) {
      if (const auto text = read_small(folder + "/children")) read_numbers(*text, next);
    }
    ProcessStat stat;
    if (!by_thread || !read_stat(folder, stat)) continue;
    const auto before = member.threads.find(thread);
    const uint64_t used = before == member.threads.end() ? 0 : before->second;
    const bool counts = party_.with_root || pid != party_.root;
    if (counts && !member.fresh) weigh(stat.cpu, rise(used, stat.own));
    ticks[thread] = stat.own;
  }
  if (by_thread) member.threads = std::move(ticks);
}

// Where the kernel does not list the children of a thread: everybody is asked for his parent.
void Follower::find_children(std::vector<int32_t>& next) const {
  std::unordered_map<int32_t, std::vector<int32_t>> children;
  for (const int32_t pid : numbered(proc_)) {
    ProcessStat stat;
    if (read_stat(folder_of(proc_, pid), stat)) children[stat.parent].push_back(pid);
  }
  for (size_t at = 0; at < next.size() && at < kMostMembers; ++at) {
    const auto found = children.find(next[at]);
    if (found == children.end()) continue;
    next.insert(next.end(), found->second.begin(), found->second.end());
    found->second.clear();
  }
}

void Follower::forget_vanished(Tally& tally) {
  for (auto at = members_.begin(); at != members_.end();) {
    if (at->second.seen) {
      ++at;
      continue;
    }
    // A parent outside the party has waited for it: nothing of it comes back.
    if (members_.contains(at->second.last.parent)) {
      tally.vanished += at->second.last.own + at->second.last.reaped;
    }
    at = members_.erase(at);
  }
}

bool Follower::look_at_cgroup() {
  const auto now_s = cgroup_seconds(party_.cgroup);
  if (!now_s) return false;
  std::fill(weights_.begin(), weights_.end(), 0.0);
  for (auto& [pid, member] : members_) member.seen = false;
  if (looks_ % walk_every_ == 0) {
    std::vector<int32_t> pids, ignored;
    collect_cgroup(party_.cgroup, 0, pids);
    Tally tally;
    for (const int32_t pid : pids) {
      if (members_.size() < kMostMembers) visit(pid, true, tally, ignored);
    }
    std::erase_if(members_, [](const auto& entry) { return !entry.second.seen; });
  }
  if (started_) spread(std::max(0.0, *now_s - cgroup_s_));
  cgroup_s_ = *now_s;
  return true;
}

void Follower::collect_cgroup(const std::string& folder, int depth,
                              std::vector<int32_t>& pids) const {
  if (const auto text = read_small(folder + "/cgroup.procs")) read_numbers(*text, pids);
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end && depth < kDeepest;
       entry.increment(error)) {
    std::error_code ignored;
    if (entry->is_directory(ignored)) collect_cgroup(entry->path().string(), depth + 1, pids);
  }
}

void Follower::weigh(int cpu, uint64_t ticks) {
  const auto place = static_cast<size_t>(std::max(cpu, 0));
  weights_[place < package_of_.size() ? package_of_[place] : 0] += static_cast<double>(ticks);
}

// Gives time to the packages as the threads that used it were seen there.
void Follower::spread(double seconds) {
  double sum = 0;
  for (const double weight : weights_) sum += weight;
  if (sum > 0) last_weights_ = weights_;
  sum = 0;
  for (const double weight : last_weights_) sum += weight;
  for (size_t i = 0; i < seconds_.size(); ++i) seconds_[i] += seconds * last_weights_[i] / sum;
}

}  // namespace pyprof

// The update period of a fast counter, from reads as close as can be.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>

namespace pyprof {

class Burst {
 public:
  // A read at `at_ns`, the one before it, and whether the value had changed.
  void read(int64_t at_ns, int64_t before_ns, bool changed) {
    if (!changed || done()) return;
    const int64_t gap = at_ns - changed_ns_;
    const int64_t bracket = at_ns - before_ns;
    // The thread may have been away for several updates. Between two changes that are both placed
    // closely none was missed.
    if (changed_ns_ != 0 && 4 * std::max(bracket, bracket_ns_) <= gap) gaps_.add(gap);
    changed_ns_ = at_ns;
    bracket_ns_ = bracket;
    ++changes_;
  }
  bool done() const { return gaps_.count == kMost; }
  // Whether a little more time would tell the period, if it is at most `worth_ns`.
  bool wants_more(int64_t now_ns, int64_t worth_ns) const {
    if (changes_ >= kFew) return gaps_.count < kEnough;
    return changes_ == 1 && now_ns < changed_ns_ + worth_ns + worth_ns / 8;
  }
  // Period and spread; 0, 0: not known, or slower than a burst lasts.
  std::pair<int64_t, int64_t> period() const {
    if (gaps_.count < kFew) return {0, 0};
    // A sensor that skips an update now and then shows steps of several periods.
    const int64_t shortest = gaps_.values[0];
    Sorted steps, off;
    for (int i = 0; i < gaps_.count; ++i) {
      const int64_t times = (gaps_.values[i] + shortest / 2) / shortest;
      steps.add(gaps_.values[i] / times);
    }
    const int64_t step = steps.median();
    for (int i = 0; i < steps.count; ++i) off.add(std::abs(steps.values[i] - step));
    return {step, 2 * off.median()};
  }

 private:
  static constexpr int kMost = 7, kEnough = 4, kFew = 2;
  struct Sorted {
    int64_t values[kMost] = {};
    int count = 0;
    void add(int64_t value) {
      int at = count++;
      for (; at > 0 && values[at - 1] > value; --at) values[at] = values[at - 1];
      values[at] = value;
    }
    int64_t median() const { return (values[(count - 1) / 2] + values[count / 2]) / 2; }
  };
  Sorted gaps_;
  int changes_ = 0;
  int64_t changed_ns_ = 0, bracket_ns_ = 0;
};

}  // namespace pyprof

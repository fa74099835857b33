// Mean powers of states that follow one another faster than a counter updates: the energies between
// its changes against the time spent in each state, with the moments of the changes as unknowns
// within their brackets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace pyprof {

// Which state was when: slice i lasts from times_s[i] to times_s[i + 1].
class Timetable {
 public:
  Timetable(std::vector<double> times_s, std::vector<uint32_t> states, size_t count);
  size_t states() const { return count_; }
  // Adds to `spent_s`, per state, `sign` x the time spent in it up to `t_s`.
  void add_spent(double t_s, double sign, std::span<double> spent_s) const;

 private:
  std::vector<double> times_s_;
  std::vector<uint32_t> states_;
  std::vector<double> spent_s_;  // up to each of the times: times x states
  size_t count_;
};

// One interval between two changes of a counter; `follows`: it begins with the change with which
// the one before it in the list ends.
struct Reading {
  double start_s, end_s;
  double half_start_s, half_end_s;  // half the brackets of the two changes
  double energy_j;
  bool follows;
};

struct JointFit {
  std::string refusal;                // why there is no answer; empty if there is one
  std::vector<double> power_w;        // of each state
  std::vector<double> covariance_w2;  // states x states, of the powers
  double lag_s = 0, lag_error_s = 0;  // power follows the timetable; standard error
  double noise = 0;        // of the energies beyond what brackets explain, as a share of them
  double noise_share = 0;  // its part of the energies' variance
  double information = 0, condition = 0;  // of the design; see the limits in joint.cpp
};

JointFit fit_joint(const Timetable& timetable, std::span<const Reading> readings, double quantum_j);

}  // namespace pyprof

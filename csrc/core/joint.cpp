#include "core/joint.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "core/linear.h"

namespace pyprof {
namespace {

// Constants from simulation with a known truth.
constexpr int kRounds = 16, kFewRounds = 6;
constexpr double kPowerGain = 0.7, kStampGain = 0.6;  // of a round's correction
constexpr double kLeastInformation = 0.3;  // share of the design that is not the stamps' own error
constexpr double kMostCondition = 80;      // of the scaled design
constexpr double kMostNoise = 0.12;        // of an interval's energy: the powers are not repeated
constexpr double kLagFrom = -1e-3, kLagTo = 5e-3, kLagStep = 0.5e-3;
constexpr double kLagGain = 8;  // of the likelihood, in natural units: a lag below this is none
constexpr size_t kFewForDrift = 60;
constexpr double kFewForErrors = 120;  // readings with which the variance is twice as large

constexpr const char* kInStep =
    "they repeat in step with the sensor's updates, which can't tell them apart";

class Solver {
 public:
  Solver(const Timetable& timetable, std::span<const Reading> readings, double quantum_j)
      : timetable_(timetable),
        readings_(readings),
        n_(readings.size()),
        s_(timetable.states()),
        least_j2_(2 * quantum_j * quantum_j) {}

  struct Result {
    std::vector<double> power_w, drift;
    Matrix information;     // A' M^-1 A
    double likelihood = 0;  // twice the negative logarithm
    double chi2 = 1;        // per degree of freedom
    double noise_j2 = 0, noise_share = 0;
    bool sound = false;
  };
  // From scratch, or from a result for about the same lag.
  Result run(double lag_s, const Result* start = nullptr);
  std::pair<double, double> judge(double lag_s, const Result& result);
  double mean_energy_j() const;

 private:
  void lay(double lag_s);
  void find_stamp_powers(double lag_s, double share, std::span<const double> power_w);
  bool factor(double noise_j2);
  void solve(std::span<double> column) const;
  double& spent(size_t row, size_t state) { return design_[row * s_ + state]; }

  const Timetable& timetable_;
  const std::span<const Reading> readings_;
  const size_t n_, s_;
  const double least_j2_;
  std::vector<double> shift_start_s_, shift_end_s_;  // of the changes from their stamps
  std::vector<double> power_start_w_, power_end_w_;  // at the changes
  std::vector<double> design_;                       // time in each state: readings x states
  std::vector<double> main_, beside_;                // M = L D L'
  std::vector<double> drift_;
};

double variance(double half_s) { return half_s * half_s / 3; }

double Solver::mean_energy_j() const {
  double sum_j = 0;
  for (const Reading& reading : readings_) sum_j += reading.energy_j;
  return sum_j / static_cast<double>(n_);
}

void Solver::lay(double lag_s) {
  design_.assign(n_ * s_, 0);
  for (size_t k = 0; k < n_; ++k) {
    const std::span<double> row(&design_[k * s_], s_);
    timetable_.add_spent(readings_[k].end_s + shift_end_s_[k] - lag_s, 1, row);
    timetable_.add_spent(readings_[k].start_s + shift_start_s_[k] - lag_s, -1, row);
  }
}

// The mean power around each change, over a share of its bracket.
void Solver::find_stamp_powers(double lag_s, double share, std::span<const double> power_w) {
  std::vector<double> spent_s(s_);
  const auto around = [&](double t_s, double half_s) {
    const double reach_s = std::max(share * half_s, 1e-6);
    std::fill(spent_s.begin(), spent_s.end(), 0.0);
    timetable_.add_spent(t_s + reach_s - lag_s, 1, spent_s);
    timetable_.add_spent(t_s - reach_s - lag_s, -1, spent_s);
    double energy_j = 0;
    for (size_t i = 0; i < s_; ++i) energy_j += spent_s[i] * power_w[i];
    return energy_j / (2 * reach_s);
  };
  for (size_t k = 0; k < n_; ++k) {
    const Reading& reading = readings_[k];
    power_start_w_[k] = reading.follows
                            ? power_end_w_[k - 1]
                            : around(reading.start_s + shift_start_s_[k], reading.half_start_s);
    power_end_w_[k] = around(reading.end_s + shift_end_s_[k], reading.half_end_s);
  }
}

// M: the changes' own errors, shared by neighbours with opposite signs, and the powers' noise.
bool Solver::factor(double noise_j2) {
  for (size_t k = 0; k < n_; ++k) {
    const Reading& reading = readings_[k];
    const double start = power_start_w_[k] * power_start_w_[k] * variance(reading.half_start_s);
    const double end = power_end_w_[k] * power_end_w_[k] * variance(reading.half_end_s);
    main_[k] = start + end + noise_j2 + least_j2_ + 1e-12;
    beside_[k] = 0;
    if (reading.follows) {
      beside_[k] = -start / main_[k - 1];
      main_[k] -= beside_[k] * beside_[k] * main_[k - 1];
    }
    if (!(main_[k] > 0)) return false;
  }
  return true;
}

void Solver::solve(std::span<double> column) const {
  for (size_t k = 1; k < n_; ++k) column[k] -= beside_[k] * column[k - 1];
  for (size_t k = 0; k < n_; ++k) column[k] /= main_[k];
  for (size_t k = n_ - 1; k > 0; --k) column[k - 1] -= beside_[k] * column[k];
}

Solver::Result Solver::run(double lag_s, const Result* start) {
  Result result;
  shift_start_s_.assign(n_, 0);
  shift_end_s_.assign(n_, 0);
  power_start_w_.assign(n_, 0);
  power_end_w_.assign(n_, 0);
  main_.assign(n_, 0);
  beside_.assign(n_, 0);
  drift_.assign(n_, 1);
  double all_s = 0;
  for (const Reading& reading : readings_) all_s += reading.end_s - reading.start_s;
  const double mean_j = mean_energy_j();
  result.power_w.assign(s_, mean_j * static_cast<double>(n_) / all_s);
  result.noise_j2 = 1e-6 * mean_j * mean_j;
  if (start != nullptr) {
    result.power_w = start->power_w;
    result.noise_j2 = start->noise_j2;
    drift_ = start->drift;
  }
  const int rounds = start != nullptr ? kFewRounds : kRounds;
  std::vector<double> seen(n_), rest(n_), weighed(n_ * s_), column(n_), moment(s_);
  for (int round = 0; round < rounds; ++round) {
    lay(lag_s);
    const double share = start != nullptr ? 0.2 : 1 - 0.8 * round / (kRounds - 1.0);
    find_stamp_powers(lag_s, share, result.power_w);
    if (!factor(result.noise_j2)) return result;
    for (size_t k = 0; k < n_; ++k) {
      seen[k] = readings_[k].energy_j / drift_[k] + power_end_w_[k] * shift_end_s_[k] -
                power_start_w_[k] * shift_start_s_[k];
    }
    result.information = Matrix(s_);
    for (size_t i = 0; i < s_; ++i) {
      for (size_t k = 0; k < n_; ++k) column[k] = spent(k, i);
      solve(column);
      moment[i] = 0;
      for (size_t k = 0; k < n_; ++k) {
        moment[i] += column[k] * seen[k];
        for (size_t j = 0; j < s_; ++j) result.information(i, j) += column[k] * spent(k, j);
      }
    }
    std::vector<double> found;
    if (!solve_not_negative(result.information, moment, found)) return result;
    const double gain = round == 0 && start == nullptr ? 1 : kPowerGain;
    for (size_t i = 0; i < s_; ++i) result.power_w[i] += gain * (found[i] - result.power_w[i]);
    // What is left tells how far each change lay from its stamp, and how much the powers vary.
    double chi2 = 0, logarithm = 0, main = 0;
    for (size_t k = 0; k < n_; ++k) {
      rest[k] = seen[k];
      for (size_t i = 0; i < s_; ++i) rest[k] -= spent(k, i) * result.power_w[i];
      column[k] = rest[k];
      logarithm += std::log(main_[k]);
      main += main_[k];
    }
    solve(column);
    for (size_t k = 0; k < n_; ++k) chi2 += rest[k] * column[k];
    result.likelihood = chi2 + logarithm;
    result.chi2 = chi2 / static_cast<double>(n_ - std::min(n_ - 1, s_));
    for (size_t k = 0; k < n_; ++k) {
      const Reading& reading = readings_[k];
      const double next = k + 1 < n_ && readings_[k + 1].follows ? column[k + 1] : 0;
      const double end_s = variance(reading.half_end_s) * power_end_w_[k] * (column[k] - next);
      shift_end_s_[k] = std::clamp(shift_end_s_[k] + kStampGain * (end_s - shift_end_s_[k]),
                                   -reading.half_end_s, reading.half_end_s);
      if (reading.follows) {
        shift_start_s_[k] = shift_end_s_[k - 1];
        continue;
      }
      const double start_s = -variance(reading.half_start_s) * power_start_w_[k] * column[k];
      shift_start_s_[k] = std::clamp(shift_start_s_[k] + kStampGain * (start_s - shift_start_s_[k]),
                                     -reading.half_start_s, reading.half_start_s);
    }
    const double mean_main = main / static_cast<double>(n_);
    result.noise_share = mean_main > 0 ? std::min(result.noise_j2 / mean_main, 1.0) : 0;
    result.noise_j2 = std::max(result.noise_j2 + 0.7 * (result.chi2 - 1) * mean_main, 0.0);
    if (n_ >= kFewForDrift && (round >= 3 || start != nullptr)) {
      std::vector<double> modelled(n_), times(n_), ratio(n_);
      for (size_t k = 0; k < n_; ++k) {
        modelled[k] = 0;
        for (size_t i = 0; i < s_; ++i) modelled[k] += spent(k, i) * result.power_w[i];
        times[k] = readings_[k].end_s;
        ratio[k] = modelled[k] > 0 ? (rest[k] + modelled[k]) * drift_[k] / modelled[k] : 1;
      }
      drift_ = fit_quadratic(times, ratio);
    }
  }
  result.drift = drift_;
  result.sound = true;
  return result;
}

// How much of the design is knowledge, not the stamps' own error; and how well its columns differ.
std::pair<double, double> Solver::judge(double lag_s, const Result& result) {
  std::fill(shift_start_s_.begin(), shift_start_s_.end(), 0.0);
  std::fill(shift_end_s_.begin(), shift_end_s_.end(), 0.0);
  lay(lag_s);
  find_stamp_powers(lag_s, 1, result.power_w);
  factor(result.noise_j2);
  Matrix known(s_), blurred(s_), scaled(s_);
  std::vector<double> spent_s(s_);
  for (size_t k = 0; k < n_; ++k) {
    const Reading& reading = readings_[k];
    const double start = power_start_w_[k] * power_start_w_[k] * variance(reading.half_start_s);
    const double end = power_end_w_[k] * power_end_w_[k] * variance(reading.half_end_s);
    const double weight = 1 / (start + end + result.noise_j2 + least_j2_ + 1e-12);
    for (size_t i = 0; i < s_; ++i) {
      for (size_t j = 0; j < s_; ++j) {
        known(i, j) += weight * spent(k, i) * spent(k, j);
        scaled(i, j) += spent(k, i) * spent(k, j);
      }
    }
    for (const auto& [t_s, half_s] : {std::pair{reading.start_s, reading.half_start_s},
                                      std::pair{reading.end_s, reading.half_end_s}}) {
      const double reach_s = std::max(half_s, 1e-6);
      std::fill(spent_s.begin(), spent_s.end(), 0.0);
      timetable_.add_spent(t_s + reach_s - lag_s, 1, spent_s);
      timetable_.add_spent(t_s - reach_s - lag_s, -1, spent_s);
      for (size_t i = 0; i < s_; ++i) {
        blurred(i, i) += weight * variance(half_s) * spent_s[i] / (2 * reach_s);
      }
    }
  }
  std::vector<double> length(s_);
  for (size_t i = 0; i < s_; ++i) length[i] = std::sqrt(std::max(scaled(i, i), 1e-300));
  for (size_t i = 0; i < s_; ++i) {
    for (size_t j = 0; j < s_; ++j) scaled(i, j) /= length[i] * length[j];
  }
  const std::vector<double> values = eigenvalues(scaled);
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const double condition = *least > 0 ? std::sqrt(*most / *least) : 1e9;
  return {1 - largest_ratio(blurred, known), condition};
}

}  // namespace

Timetable::Timetable(std::vector<double> times_s, std::vector<uint32_t> states, size_t count)
    : times_s_(std::move(times_s)), states_(std::move(states)), count_(count) {
  spent_s_.assign(times_s_.size() * count_, 0);
  for (size_t i = 0; i + 1 < times_s_.size(); ++i) {
    std::copy_n(&spent_s_[i * count_], count_, &spent_s_[(i + 1) * count_]);
    if (states_[i] < count_) {
      spent_s_[(i + 1) * count_ + states_[i]] += times_s_[i + 1] - times_s_[i];
    }
  }
}

void Timetable::add_spent(double t_s, double sign, std::span<double> spent_s) const {
  t_s = std::clamp(t_s, times_s_.front(), times_s_.back());
  const auto after = std::upper_bound(times_s_.begin(), times_s_.end(), t_s);
  const auto slice = static_cast<size_t>(after - times_s_.begin()) - 1;
  const double* const before = &spent_s_[slice * count_];
  for (size_t i = 0; i < count_; ++i) spent_s[i] += sign * before[i];
  if (slice < states_.size() && states_[slice] < count_) {
    spent_s[states_[slice]] += sign * (t_s - times_s_[slice]);
  }
}

JointFit fit_joint(const Timetable& timetable, std::span<const Reading> readings,
                   double quantum_j) {
  JointFit fit;
  Solver solver(timetable, readings, quantum_j);
  Solver::Result best = solver.run(0);
  if (!best.sound) {
    fit.refusal = kInStep;
    return fit;
  }
  std::tie(fit.information, fit.condition) = solver.judge(0, best);
  if (fit.information < kLeastInformation || fit.condition > kMostCondition) {
    fit.refusal = kInStep;
    return fit;
  }
  // The lag with the greatest likelihood, if it beats none by enough.
  std::vector<double> lags, likelihoods;
  for (double lag_s = kLagFrom; lag_s < kLagTo + kLagStep / 2; lag_s += kLagStep) {
    const Solver::Result result = solver.run(lag_s, &best);
    lags.push_back(lag_s);
    likelihoods.push_back(result.sound ? result.likelihood
                                       : std::numeric_limits<double>::infinity());
  }
  const auto least = static_cast<size_t>(std::min_element(likelihoods.begin(), likelihoods.end()) -
                                         likelihoods.begin());
  if (least > 0 && least + 1 < lags.size() && std::isfinite(likelihoods[least - 1]) &&
      std::isfinite(likelihoods[least + 1])) {
    const double before = likelihoods[least - 1], at = likelihoods[least],
                 after = likelihoods[least + 1];
    const double curve = before - 2 * at + after;
    if (curve > 0) {
      fit.lag_error_s = kLagStep * std::sqrt(2 / curve);
      const double lag_s = lags[least] + 0.5 * kLagStep * (before - after) / curve;
      const Solver::Result result = solver.run(lag_s);
      if (result.sound && result.likelihood < best.likelihood - 2 * kLagGain) {
        fit.lag_s = lag_s;
        best = result;
      }
    }
  }
  fit.power_w = best.power_w;
  fit.noise_share = best.noise_share;
  fit.noise = std::sqrt(best.noise_j2) / solver.mean_energy_j();
  if (fit.noise > kMostNoise) {
    fit.refusal = "their power differs too much from one repeat to the next";
    return fit;
  }
  const size_t s = timetable.states();
  Matrix inverse(s);
  if (!invert(best.information, inverse)) {
    fit.refusal = kInStep;
    return fit;
  }
  fit.covariance_w2.resize(s * s);
  // What the design owes to the stamps' own errors is no knowledge, and few readings say little of
  // how much they err.
  const double few = 1 + kFewForErrors / static_cast<double>(readings.size());
  const double scale = std::max(best.chi2, 1.0) * few / std::pow(fit.information, 3);
  for (size_t i = 0; i < s * s; ++i) fit.covariance_w2[i] = scale * inverse(i / s, i % s);
  if (fit.lag_error_s > 0) {
    const double step_s = std::min(fit.lag_error_s, kLagStep);
    const Solver::Result other = solver.run(fit.lag_s + step_s, &best);
    if (other.sound) {
      for (size_t i = 0; i < s * s; ++i) {
        const double a = other.power_w[i / s] - best.power_w[i / s];
        const double b = other.power_w[i % s] - best.power_w[i % s];
        fit.covariance_w2[i] += a * b * (fit.lag_error_s / step_s) * (fit.lag_error_s / step_s);
      }
    }
  }
  return fit;
}

}  // namespace pyprof

#include "core/predictor.h"

#include <algorithm>
#include <cmath>

namespace pyprof {
namespace {

// About what keeps the last 30 updates of a grid and the last 50 of a walk in memory.
constexpr double kGridDrift = 4e-6;
constexpr double kWalkDrift = 4e-4;
constexpr double kLeastNoise = 5e-4;  // of the period
constexpr double kNoiseGain = 0.05;
constexpr double kMostSurprise = 16;  // one update may be so many variances off before it is cut
constexpr double kWorstFit = -8;
constexpr double kNear = 2;  // standard deviations within which an update may have come or not
constexpr double kFirstUpdates = 2;  // what the noise at the start is worth

double squared(double x) { return x * x; }
double density(double z) { return 0.3989422804014327 * std::exp(-0.5 * z * z); }
double upper_tail(double z) { return 0.5 * std::erfc(z * 0.7071067811865476); }

}  // namespace

CutNormal cut_normal(double mean, double variance, double low, double high) {
  // On the side where tails are small numbers and don't cancel.
  if (low + high < 2 * mean) {
    const CutNormal mirrored = cut_normal(-mean, variance, -high, -low);
    return {-mirrored.mean, mirrored.variance, mirrored.weight};
  }
  const double sigma = std::sqrt(variance);
  const double a = (low - mean) / sigma, b = (high - mean) / sigma;
  const double weight = upper_tail(a) - upper_tail(b);
  if (!(weight > 1e-12)) {
    // Far in the tail, which falls off there as exp(-a z).
    const double scale = std::min(sigma / std::max(a, 1.0), 0.3 * (high - low));
    return {std::clamp(low + scale, low, high), squared(scale), 1e-12};
  }
  const double at_a = density(a), at_b = density(b);
  const double shift = (at_a - at_b) / weight;
  // An end at infinity weighs nothing.
  const double slope = (at_a > 0 ? a * at_a : 0) - (at_b > 0 ? b * at_b : 0);
  const double spread = std::clamp(1 + slope / weight - shift * shift, 1e-6, 1.0);
  return {std::clamp(mean + sigma * shift, low, high), variance * spread, weight};
}

Match match(double next_ns, double period_ns, double sigma_ns, double low_ns, double high_ns) {
  if (high_ns <= next_ns + period_ns / 2) return {};
  const double extra = std::floor((high_ns - next_ns) / period_ns);
  const double since = high_ns - next_ns - extra * period_ns;  // since that one was due
  const double near = kNear * sigma_ns;
  const bool before = extra >= 1 && since < near && low_ns < high_ns - since - period_ns + near;
  return {1 + static_cast<int64_t>(extra), !before && period_ns - since > near};
}

double Predictor::drift(Kind kind) { return kind == Kind::kGrid ? kGridDrift : kWalkDrift; }

void Predictor::start(double at_ns, double period_ns, double error_ns, double period_error_ns) {
  at_ns_ = at_ns;
  period_ns_ = period_ns;
  var_at_ = squared(error_ns);
  var_period_ = squared(period_error_ns);
  covar_ = 0;
  noise_ = squared(error_ns);
  taught_ = kFirstUpdates;
  fit_ = 0;
}

void Predictor::skip(int64_t periods) {
  const auto n = static_cast<double>(periods);
  const bool walk = kind_ == Kind::kWalk;
  at_ns_ += n * period_ns_;
  var_at_ += n * (2 * covar_ + n * var_period_) + (walk ? n * noise_ : 0);
  covar_ += n * var_period_;
  var_period_ += n * noise_ * drift(kind_);
}

double Predictor::observe(int64_t periods, double low_ns, double high_ns) {
  skip(periods);
  const double variance = var_at_ + (kind_ == Kind::kGrid ? noise_ : 0);
  const CutNormal found = cut_normal(at_ns_, variance, low_ns, high_ns);
  const double most = period_ns_ / 4;
  const double error = std::clamp(found.mean - at_ns_, -most, most);
  const double told = 1 - found.variance / variance;  // 0: nothing
  const double gain = var_at_ / variance, period_gain = covar_ / variance;
  at_ns_ += gain * error;
  period_ns_ += period_gain * error;
  var_period_ -= period_gain * covar_ * told;
  covar_ -= gain * covar_ * told;
  var_at_ -= gain * var_at_ * told;
  // As in expectation and maximisation: where the noise is right this is 0 in the mean.
  taught_ += told;
  const double learn = std::max(1 / taught_, kNoiseGain);
  const double surprise = (squared(error) + found.variance) / variance;
  noise_ *= 1 + learn * (std::min(surprise, kMostSurprise) - 1);
  noise_ = std::max(noise_, squared(kLeastNoise * period_ns_));
  fit_ += learn * (std::max(std::log(found.weight), kWorstFit) - fit_);
  return found.mean;
}

double Predictor::sigma_ns() const {
  return std::sqrt(var_at_ + 2 * covar_ + var_period_ + noise_);
}

double Predictor::noise_ns() const { return std::sqrt(noise_); }

}  // namespace pyprof

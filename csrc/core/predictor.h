// When a sensor updates itself next, and how sure that is.
#pragma once

#include <cstdint>

namespace pyprof {

// A normal distribution cut to a range.
struct CutNormal {
  double mean, variance;
  double weight;  // of the range, before the cut
};
CutNormal cut_normal(double mean, double variance, double low, double high);

// Which update a read has seen that found a new value.
struct Match {
  int64_t periods = 1;  // after the last one
  // Whether it can only be that one: a read close to when an update was due may have seen it or
  // the one before.
  bool sure = true;
};
Match match(double next_ns, double period_ns, double sigma_ns, double low_ns, double high_ns);

// A Kalman filter over phase and period, taught by the ranges in which updates are known to lie. A
// range that says nothing changes nothing; what is not seen for long becomes less sure.
class Predictor {
 public:
  enum class Kind : uint8_t {
    kGrid,  // updates stray about a grid, each for itself
    kWalk,  // each interval strays, and the next update begins where this one ended
  };
  explicit Predictor(Kind kind) : kind_(kind) {}
  // How fast the period itself may change: variance each update, as a share of an update's noise.
  static double drift(Kind kind);

  // The last update came at `at_ns`; standard deviations of it and of the period.
  void start(double at_ns, double period_ns, double error_ns, double period_error_ns);
  // The update `periods` after the last one lies within the range; returns where, in the mean.
  double observe(int64_t periods, double low_ns, double high_ns);
  void skip(int64_t periods);

  double at_ns() const { return at_ns_; }  // of the last update
  double next_ns() const { return at_ns_ + period_ns_; }
  double period_ns() const { return period_ns_; }
  double sigma_ns() const;             // standard deviation of the next update about its prediction
  double noise_ns() const;             // the part of it that more readings would not lessen
  double fit() const { return fit_; }  // mean logarithm of the likelihood, lately

 private:
  Kind kind_;
  double at_ns_ = 0, period_ns_ = 0;
  double var_at_ = 0, covar_ = 0, var_period_ = 0;
  double noise_ = 0;   // variance of one update
  double taught_ = 0;  // updates so far, as far as their ranges said anything
  double fit_ = 0;
};

}  // namespace pyprof

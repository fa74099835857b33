#include "core/smoother.h"

namespace pyprof {

static double squared(double x) { return x * x; }

LineState ahead_of(const LineState& from, const LineStep& step) {
  const double n = step.length;
  LineState to = from;
  to.at += n * from.rate;
  to.var_at += n * (2 * from.covar + n * from.var_rate) + step.var_at;
  to.covar += n * from.var_rate + step.covar;
  to.var_rate += step.var_rate;
  return to;
}

void teach(LineState& state, const LineSite& site) {
  if (!site.tells()) return;
  const double sum = state.var_at + site.variance;
  const double gain = state.var_at / sum, rate_gain = state.covar / sum;
  const double error = site.y - state.at;
  state.at += gain * error;
  state.rate += rate_gain * error;
  state.var_rate -= rate_gain * state.covar;
  state.covar -= gain * state.covar;
  state.var_at -= gain * state.var_at;
}

void Smoother::run(const LineState& start, std::span<const LineStep> steps,
                   std::span<const LineSite> sites) {
  const size_t count = steps.size();
  ahead_.resize(count);
  taught_.resize(count);
  all_.resize(count);
  with_next_.assign(count, 0);
  LineState state = start;
  for (size_t k = 0; k < count; ++k) {
    ahead_[k] = state = ahead_of(state, steps[k]);
    teach(state, sites[k]);
    taught_[k] = state;
  }
  all_.back() = taught_.back();
  for (size_t k = count - 1; k-- > 0;) {
    const LineState& here = taught_[k];
    const LineState& before = ahead_[k + 1];
    const LineState& after = all_[k + 1];
    const double n = steps[k + 1].length;
    // Covariance with the next state, times the inverse of that one's own.
    const double aa = here.var_at + n * here.covar, ar = here.covar;
    const double ra = here.covar + n * here.var_rate, rr = here.var_rate;
    const double det = before.var_at * before.var_rate - squared(before.covar);
    const double g11 = (aa * before.var_rate - ar * before.covar) / det;
    const double g12 = (ar * before.var_at - aa * before.covar) / det;
    const double g21 = (ra * before.var_rate - rr * before.covar) / det;
    const double g22 = (rr * before.var_at - ra * before.covar) / det;
    const double at = after.at - before.at, rate = after.rate - before.rate;
    const double va = after.var_at - before.var_at, vc = after.covar - before.covar;
    const double vr = after.var_rate - before.var_rate;
    LineState& all = all_[k];
    all.at = here.at + g11 * at + g12 * rate;
    all.rate = here.rate + g21 * at + g22 * rate;
    all.var_at = here.var_at + g11 * g11 * va + 2 * g11 * g12 * vc + g12 * g12 * vr;
    all.covar = here.covar + g11 * g21 * va + (g11 * g22 + g12 * g21) * vc + g12 * g22 * vr;
    all.var_rate = here.var_rate + g21 * g21 * va + 2 * g21 * g22 * vc + g22 * g22 * vr;
    with_next_[k] = g11 * after.var_at + g12 * after.covar;
  }
}

}  // namespace pyprof

// Lets tests ask the native signal and sensor directly, over plain C calls.
#include <cstdint>
#include <exception>
#include <vector>

#include "core/sensor.h"
#include "core/signal.h"

#pragma GCC visibility push(default)
extern "C" {

// Null if the parts can't make a signal and its sensor.
pyprof::SensorModel* probe_new(const int64_t* duration_ns, const double* start_w,
                               const double* end_w, int64_t count, int repeat, int64_t period_ns,
                               int64_t phase_ns, double jitter, double quantum_j, uint64_t range,
                               uint64_t start, int64_t window_ns, int64_t lag_ns) {
  std::vector<pyprof::Segment> segments;
  for (int64_t each = 0; each < count; ++each) {
    segments.push_back({duration_ns[each], start_w[each], end_w[each]});
  }
  try {
    return new pyprof::SensorModel(
        pyprof::Signal(segments, repeat != 0),
        {period_ns, phase_ns, jitter, quantum_j, range, start, window_ns, lag_ns});
  } catch (const std::exception&) {
    return nullptr;
  }
}

void probe_delete(pyprof::SensorModel* model) { delete model; }
double probe_power_w(const pyprof::SensorModel* model, int64_t t_ns) {
  return model->signal().power_w(t_ns);
}
double probe_energy_j(const pyprof::SensorModel* model, int64_t t_ns) {
  return model->signal().energy_j(t_ns);
}
double probe_mean_w(const pyprof::SensorModel* model, int64_t from_ns, int64_t to_ns) {
  return model->signal().mean_w(from_ns, to_ns);
}
int64_t probe_last_update_ns(const pyprof::SensorModel* model, int64_t t_ns) {
  return model->last_update_ns(t_ns);
}
int64_t probe_next_update_ns(const pyprof::SensorModel* model, int64_t t_ns) {
  return model->next_update_ns(t_ns);
}
uint64_t probe_counter_at(const pyprof::SensorModel* model, int64_t t_ns) {
  return model->counter_at(t_ns);
}
double probe_power_at(const pyprof::SensorModel* model, int64_t t_ns) {
  return model->power_at(t_ns);
}

}  // extern "C"
#pragma GCC visibility pop

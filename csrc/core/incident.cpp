#include "core/incident.h"

#include <cstddef>
#include <cstdio>

namespace pyprof {
namespace {

std::string format(const char* pattern, double figure) {
  char text[160];
  std::snprintf(text, sizeof text, pattern, figure);
  return text;
}

std::string rarer(uint64_t times) { return std::to_string(times) + " times rarer"; }

}  // namespace

Incident::Kind incident_of(Sample::Status status) {
  switch (status) {
    case Sample::Status::kDenied:
      return Incident::Kind::kDenied;
    case Sample::Status::kLost:
      return Incident::Kind::kLost;
    default:
      return Incident::Kind::kFailed;
  }
}

SamplerEvent in_words(const Incident& incident) {
  SamplerEvent event{incident.t_ns, "note", incident.channel, incident.count, ""};
  switch (incident.kind) {
    case Incident::Kind::kFailed:
    case Incident::Kind::kDenied:
    case Incident::Kind::kLost:
      event.kind = incident.kind == Incident::Kind::kFailed   ? "failed"
                   : incident.kind == Incident::Kind::kDenied ? "denied"
                                                              : "lost";
      event.text = incident.unit->describe(incident.code);
      if (incident.at_end) event.text += ", until the end of the run";
      break;
    case Incident::Kind::kBack:
      event.kind = "back";
      break;
    case Incident::Kind::kHung:
      event.kind = "late";
      event.text =
          incident.at_end
              ? format(
                    "a driver's call that began %.3g s before the end did not return: "
                    "it was left behind",
                    incident.figure)
              : format("a driver's call took %.3g s; the other sensors were read meanwhile",
                       incident.figure);
      break;
    case Incident::Kind::kIrregular:
      event.text = format("its updates are too irregular to be predicted: polled every %.3g s",
                          incident.figure);
      break;
    case Incident::Kind::kStuck:
      event.text = format("the counter stood still for %.3g s", incident.figure);
      break;
    case Incident::Kind::kSlowCalls:
      event.text =
          format("more than one call in a hundred takes over %.3g s: reads are ", incident.figure) +
          rarer(incident.count);
      event.count = 1;
      break;
    case Incident::Kind::kOverBudget:
      event.text = format("sampling took %.2g %% of a core, more than its budget: reads are ",
                          100 * incident.figure) +
                   rarer(incident.count);
      event.count = 1;
      break;
    case Incident::Kind::kFullPace:
      event.text = "reads are at their full pace again";
      break;
    case Incident::Kind::kUnprivileged:
      event.text = std::string("the sampler's priority or processors could not be set as asked: ") +
                   describe_errno(incident.code);
      break;
  }
  return event;
}

void IncidentLog::note(const Incident& incident) noexcept {
  if (count_ < kMost) {
    kept_[count_++] = incident;
    return;
  }
  for (size_t i = kMost; i-- > 0;) {
    if (kept_[i].kind != incident.kind || kept_[i].channel != incident.channel) continue;
    kept_[i].count += incident.count;
    return;
  }
}

void IncidentLog::take(std::vector<Incident>& out) noexcept {
  out.insert(out.end(), kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(count_));
  count_ = 0;
}

}  // namespace pyprof

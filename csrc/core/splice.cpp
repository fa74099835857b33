#include "core/splice.h"

#include <algorithm>
#include <utility>

namespace pyprof {

void Splice::begin(const std::string& stream, std::vector<int32_t> channels, int64_t shift_ns) {
  channels_ = std::move(channels);
  shift_ns_ = shift_ns;
  present_ = &sources_[stream];
  if (present_->size() < channels_.size()) present_->resize(channels_.size());
  covered_ns_.clear();
  for (const Joint& joint : joints_) covered_ns_.push_back(joint.last_read_ns);
}

void Splice::add(std::span<const uint8_t> bytes, std::vector<uint8_t>& out) {
  for (Frame& frame : decode_frames(bytes).frames) {
    if (frame.channel >= channels_.size()) continue;
    const int32_t ours = channels_[frame.channel];
    if (ours < 0 || static_cast<size_t>(ours) >= joints_.size()) continue;
    const auto index = static_cast<size_t>(ours);
    Source& source = (*present_)[frame.channel];
    frame.channel = static_cast<uint32_t>(index);
    append(std::move(frame), joints_[index], source, covered_ns_[index], out);
  }
}

void Splice::append(Frame frame, Joint& joint, Source& source, int64_t covered_ns,
                    std::vector<uint8_t>& out) const {
  frame.pulse.last_read_ns += shift_ns_;
  std::vector<Change> kept;
  bool hole = source.seen && frame.first_seq > source.next_seq;
  for (Change change : frame.changes) {
    change.last_old_ns += shift_ns_;
    change.first_new_ns += shift_ns_;
    change.at_ns += shift_ns_;
    if (joint.started && change.first_new_ns <= covered_ns) {
      source.seen = true;
      hole = false;
      continue;
    }
    const bool first_kept = kept.empty() && joint.started && !source.seen;
    if (first_kept && (change.flags & kFirst) == 0) hole = true;
    // The others saw this change first: here it only came later.
    const bool known = joint.started && change.raw == joint.raw && change.flags == 0 && !hole &&
                       change.last_old_ns <= covered_ns;
    source.seen = true;
    if (!known) kept.push_back(change);
    joint.raw = change.raw;
    joint.started = true;
  }
  source.next_seq = frame.first_seq + frame.changes.size();
  if (joint.started && frame.pulse.last_read_ns <= covered_ns) source.seen = true;
  if (kept.empty() && frame.pulse.last_read_ns <= joint.last_read_ns) return;
  frame.changes = std::move(kept);
  frame.first_seq = joint.next_seq + (hole ? 1 : 0);  // a missing number is a gap to every reader
  joint.next_seq = frame.first_seq + frame.changes.size();
  joint.last_read_ns = std::max(joint.last_read_ns, frame.pulse.last_read_ns);
  if (!frame.changes.empty()) {
    joint.last_read_ns = std::max(joint.last_read_ns, frame.changes.back().first_new_ns);
  }
  encode_frame(frame, out);
}

}  // namespace pyprof

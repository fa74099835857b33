#include "core/join.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/frame.h"

namespace pyprof {
namespace {

// One frame in parts of `most` changes; each part was read up to its own last change.
void encode_parts(Frame frame, size_t most, std::vector<uint8_t>& out) {
  const std::vector<Change> all = std::move(frame.changes);
  const Pulse pulse = frame.pulse;
  size_t from = 0;
  do {
    const size_t count = std::min(most, all.size() - from);
    const auto begin = all.begin() + static_cast<ptrdiff_t>(from);
    frame.changes.assign(begin, begin + static_cast<ptrdiff_t>(count));
    frame.pulse = pulse;
    from += count;
    if (from < all.size()) frame.pulse.last_read_ns = frame.changes.back().first_new_ns;
    encode_frame(frame, out);
    frame.first_seq += count;
  } while (from < all.size());
}

// Takes `next` at the end of `joined`, if it goes on where that ends.
bool append(Frame& joined, const Frame& next) {
  if (next.first_seq != joined.first_seq + joined.changes.size()) return false;
  joined.changes.insert(joined.changes.end(), next.changes.begin(), next.changes.end());
  if (next.pulse.last_read_ns >= joined.pulse.last_read_ns) joined.pulse = next.pulse;
  return true;
}

}  // namespace

void join_frames(std::span<const uint8_t> frames, size_t most, std::vector<uint8_t>& out) {
  most = std::max<size_t>(most, 1);
  std::map<uint32_t, std::vector<Frame>> channels;
  for (Frame& frame : decode_frames(frames).frames) {
    channels[frame.channel].push_back(std::move(frame));
  }
  for (auto& [channel, parts] : channels) {
    std::stable_sort(parts.begin(), parts.end(),
                     [](const Frame& a, const Frame& b) { return a.first_seq < b.first_seq; });
    Frame joined = std::move(parts.front());
    for (size_t i = 1; i < parts.size(); ++i) {
      // Where changes are missing between, the numbers of the frames must show it.
      if (!append(joined, parts[i])) {
        encode_parts(std::exchange(joined, std::move(parts[i])), most, out);
      }
    }
    encode_parts(std::move(joined), most, out);
  }
}

void cut_frames(std::span<const uint8_t> frames, int64_t from_ns, int64_t to_ns, size_t context,
                std::vector<uint8_t>& out) {
  for (Frame& frame : decode_frames(frames).frames) {
    auto& changes = frame.changes;
    const auto seen = [](const Change& change) { return change.first_new_ns; };
    const auto begin = std::ranges::lower_bound(changes, from_ns, {}, seen) - changes.begin();
    const auto end = std::ranges::upper_bound(changes, to_ns, {}, seen) - changes.begin();
    const size_t first = static_cast<size_t>(begin) - std::min<size_t>(begin, context);
    const size_t last = std::min(static_cast<size_t>(end) + context, changes.size());
    if (last < changes.size() && last > 0) {
      frame.pulse.last_read_ns = changes[last - 1].first_new_ns;
      changes.resize(last);
    }
    changes.erase(changes.begin(), changes.begin() + static_cast<ptrdiff_t>(first));
    frame.first_seq += first;
    encode_frame(frame, out);
  }
}

}  // namespace pyprof

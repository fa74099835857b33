#include "core/trace.h"

namespace pyprof {

TraceBuffer::TraceBuffer(size_t capacity) : capacity_(capacity) {
  changes_.reserve(capacity);
  taken_.reserve(capacity);
}

void TraceBuffer::turn() noexcept {
  taken_.clear();
  taken_.swap(changes_);
}

// A change that is merged away only widens its successor's bracket. One with a flag stays: the
// first reading and the gaps say what is not known.
void TraceBuffer::thin() noexcept {
  size_t kept = 0;
  bool merged_last = true;
  for (size_t i = 0; i < changes_.size(); ++i) {
    const bool merge = !merged_last && changes_[i].flags == 0 && i + 1 < changes_.size();
    merged_last = merge;
    if (merge) {
      ++thinned_;
    } else {
      changes_[kept++] = changes_[i];
    }
  }
  if (kept == changes_.size() &&
      kept > 1) {  // nothing but flagged entries: drop the oldest but one
    for (size_t i = 2; i < kept; ++i) changes_[i - 1] = changes_[i];
    --kept;
    ++thinned_;
  }
  changes_.resize(kept);
}

}  // namespace pyprof

#include "core/trace.h"

#include <utility>

namespace pyprof {

TraceBuffer::Room TraceBuffer::make_room(size_t capacity) {
  return {std::allocator<Change>().allocate(capacity), Give{capacity}};
}

TraceBuffer::TraceBuffer(size_t capacity)
    : filling_(make_room(capacity)), taken_(make_room(capacity)) {
  next_ = filling_.get();
  end_ = next_ + capacity;
}

void TraceBuffer::turn() noexcept {
  taken_count_ = static_cast<size_t>(next_ - filling_.get());
  const auto capacity = end_ - filling_.get();
  filling_.swap(taken_);
  next_ = filling_.get();
  end_ = next_ + capacity;
}

// A change that is merged away only widens its successor's bracket. One with a flag stays: the
// first reading and the gaps say what is not known.
void TraceBuffer::thin() noexcept {
  const auto count = static_cast<size_t>(next_ - filling_.get());
  size_t kept = 0;
  bool merged_last = true;
  for (size_t i = 0; i < count; ++i) {
    const bool merge = !merged_last && filling_[i].flags == 0 && i + 1 < count;
    merged_last = merge;
    if (merge) {
      ++thinned_;
    } else {
      filling_[kept++] = filling_[i];
    }
  }
  if (kept == count && kept > 1) {  // nothing but flagged entries: drop the oldest but one
    for (size_t i = 2; i < kept; ++i) filling_[i - 1] = filling_[i];
    --kept;
    ++thinned_;
  }
  next_ = filling_.get() + kept;
}

}  // namespace pyprof

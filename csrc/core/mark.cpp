#include "core/mark.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "core/bytes.h"

namespace pyprof {
namespace {

constexpr char kMagic[5] = "PYM1";
constexpr size_t kMinMarkBytes = 3;
constexpr size_t kMaxMarks = 4096;         // of one frame; more make several frames
constexpr size_t kMaxNameBytes = 1 << 14;  // of one frame, unless a single name is longer
constexpr size_t kLongestName = 1 << 12;
constexpr size_t kMostSpare = 1 << 15;  // marks: 1.3 MB
constexpr int64_t kMaxNs = int64_t{1} << 60;

std::atomic<uint64_t> made{0};

// What a mark is encoded against.
struct Context {
  uint64_t t = 0;
  uint64_t token = 0;
};

void put_mark(const Mark& mark, Context& last, Bytes& out) {
  const auto kind = static_cast<unsigned>(mark.kind);
  const auto phase = static_cast<unsigned>(mark.phase);
  out.push_back(static_cast<uint8_t>(kind | phase << 2 | (mark.flags & 0x0Fu) << 4));
  const auto t = static_cast<uint64_t>(std::clamp(mark.t_ns, -kMaxNs, kMaxNs));
  put_varint(out, zigzag(t - last.t));
  put_varint(out, zigzag(mark.token - last.token));
  last = {t, mark.token};
  if (mark.kind == Mark::Kind::kEnd) return;
  // No entry is its own parent, so 0 is free to mean the root.
  put_varint(out, mark.parent == 0 ? 0 : zigzag(mark.token - mark.parent));
  put_varint(out, mark.name);
}

bool get_mark(ByteReader& in, Context& last, Mark& mark) {
  const auto head = in.fixed<uint8_t>();
  const unsigned kind = head & 3u;
  if (kind != 1 && kind != 2) return false;
  mark.kind = static_cast<Mark::Kind>(kind);
  mark.phase = static_cast<Phase>(head >> 2 & 3u);
  mark.flags = head >> 4;
  last.t += unzigzag(in.varint());
  last.token += unzigzag(in.varint());
  mark.t_ns = static_cast<int64_t>(last.t);
  mark.token = last.token;
  if (mark.kind == Mark::Kind::kBegin) {
    const uint64_t up = in.varint();
    const uint64_t name = in.varint();
    mark.parent = up == 0 ? 0 : mark.token - unzigzag(up);
    if (name > UINT32_MAX) return false;
    mark.name = static_cast<uint32_t>(name);
  }
  return in.ok() && mark.t_ns >= -kMaxNs && mark.t_ns <= kMaxNs;
}

using Names = std::span<const std::pair<uint32_t, std::string>>;

void put_frame(uint64_t seq, Names names, std::span<const Mark> marks, Bytes& out) {
  const size_t start = begin_outer(out, kMagic);
  put_fixed(out, seq);
  put_fixed(out, static_cast<uint32_t>(names.size()));
  put_fixed(out, static_cast<uint32_t>(marks.size()));
  for (const auto& [index, name] : names) {
    const size_t length = std::min(name.size(), kLongestName);
    put_varint(out, index);
    put_varint(out, length);
    out.insert(out.end(), name.begin(), name.begin() + static_cast<ptrdiff_t>(length));
  }
  Context last;
  for (const Mark& mark : marks) put_mark(mark, last, out);
  end_outer(out, start);
}

bool get_names(ByteReader& in, uint32_t count, MarkFrame& frame) {
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t index = in.varint();
    const auto text = in.take(in.varint());
    if (!in.ok() || index > UINT32_MAX) return false;
    frame.names.emplace_back(static_cast<uint32_t>(index), std::string(text.begin(), text.end()));
  }
  return true;
}

bool get_frame(std::span<const uint8_t> body, MarkFrame& frame) {
  ByteReader in(body);
  frame.seq = in.fixed<uint64_t>();
  const auto names = in.fixed<uint32_t>();
  const auto marks = in.fixed<uint32_t>();
  if (!in.ok() || names > in.left() / 2 || !get_names(in, names, frame)) return false;
  if (marks > in.left() / kMinMarkBytes) return false;
  frame.marks.resize(marks);
  Context last;
  for (Mark& mark : frame.marks) {
    if (!get_mark(in, last, mark)) return false;
  }
  return in.left() == 0;
}

// How many of the names fit into one frame, at least one.
size_t fitting(Names names) {
  size_t count = 0;
  size_t bytes = 0;
  while (count < names.size() && (count == 0 || bytes < kMaxNameBytes)) {
    bytes += names[count++].second.size() + 4;
  }
  return count;
}

}  // namespace

MarkLog::MarkLog() : state_(std::make_unique<State>()) {}
MarkLog::~MarkLog() = default;

uint32_t MarkLog::intern(std::string_view name) {
  const std::lock_guard lock(state_->mutex);
  auto& index_of = state_->index_of;
  if (const auto found = index_of.find(name); found != index_of.end()) return found->second;
  const bool full = state_->names.size() >= kMaxNames;
  if (full && state_->names.size() > kMaxNames) return kMaxNames;
  const auto index = static_cast<uint32_t>(state_->names.size());
  state_->names.emplace_back(full ? std::string_view("(other)") : name);
  if (!full) index_of.emplace(name, index);
  return index;
}

void MarkLog::append(const Mark& mark) {
  const std::lock_guard lock(state_->mutex);
  state_->marks.push_back(mark);
  // The lock is held: no need for the price of an atomic increment.
  made.store(made.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

uint64_t marks_made() noexcept { return made.load(std::memory_order_relaxed); }

std::vector<uint8_t> MarkLog::drain() {
  MarkFrame frame;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->marks.empty()) return {};
    frame.marks.swap(state_->marks);
    state_->marks.swap(state_->spare);
    frame.seq = std::exchange(state_->seq, state_->seq + frame.marks.size());
    for (size_t& at = state_->drained_names; at < state_->names.size(); ++at) {
      frame.names.emplace_back(static_cast<uint32_t>(at), state_->names[at]);
    }
  }
  Bytes bytes;
  encode_marks(frame, bytes);
  // Room that has been used costs a mark nothing: new memory would have to be made, page by page.
  frame.marks.clear();
  if (frame.marks.capacity() <= kMostSpare) {
    const std::lock_guard lock(state_->mutex);
    if (state_->spare.capacity() < frame.marks.capacity()) state_->spare.swap(frame.marks);
  }
  return bytes;
}

uint64_t MarkLog::pending() const {
  const std::lock_guard lock(state_->mutex);
  return state_->marks.size();
}

void MarkLog::clear() {
  // A thread that exists no more may have held the lock when the process was forked: what it
  // guards is then left behind with it.
  if (state_->mutex.try_lock()) {
    state_->mutex.unlock();
  } else {
    (void)state_.release();
  }
  state_ = std::make_unique<State>();
}

void encode_marks(const MarkFrame& frame, std::vector<uint8_t>& out) {
  Names names(frame.names);
  std::span<const Mark> marks(frame.marks);
  uint64_t seq = frame.seq;
  do {
    const size_t named = fitting(names);
    // Names go first: a mark never comes before the name that it uses.
    const size_t marked = named < names.size() ? 0 : std::min(kMaxMarks, marks.size());
    put_frame(seq, names.first(named), marks.first(marked), out);
    names = names.subspan(named);
    marks = marks.subspan(marked);
    seq += marked;
  } while (!names.empty() || !marks.empty());
}

DecodedMarks decode_marks(std::span<const uint8_t> bytes) {
  static_assert(kMaxMarks * 36 + kMaxNameBytes + kLongestName + 64 < kMaxFrameBytes);
  DecodedMarks decoded;
  decoded.damaged_bytes = scan_outer(bytes, kMagic, [&](std::span<const uint8_t> body) {
    MarkFrame frame;
    if (!get_frame(body, frame)) return false;
    decoded.frames.push_back(std::move(frame));
    return true;
  });
  return decoded;
}

}  // namespace pyprof

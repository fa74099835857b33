#include "core/sweep.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace pyprof {
namespace {

// Beyond these an entry counts as the one around it: no recording may exhaust memory or time.
constexpr uint32_t kMaxDepth = 2000;
constexpr size_t kMaxPlaces = 200'000;
constexpr size_t kMaxPathBytes = size_t{1} << 27;

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
constexpr int64_t kOpen = std::numeric_limits<int64_t>::max();

std::string escape(std::string_view name) {
  std::string escaped;
  for (const char c : name) {
    if (c == '/' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

class Sweeper {
 public:
  Sweeper(int64_t start_ns, int64_t end_ns, Phase root_phase)
      : start_ns_(start_ns), end_ns_(end_ns), root_phase_(root_phase) {
    places_.push_back({});
    new_row(0, root_phase);
    result_.entries.push_back({start_ns, end_ns, 0, 0, 0});
  }
  void add(const ProcessMarks& marks);
  Sweep finish();

 private:
  // An entry as its marks tell it, before it is known whether it lies in the run.
  struct Begun {
    int64_t begin_ns, end_ns;
    uint32_t parent;  // in `begun_`, or kNone
    uint32_t place;
    uint32_t process;
    uint32_t entry;  // in the result: its own, or if it lies outside that of the one around it
    Phase phase;
    bool resumed;
    bool synced;
  };
  struct Place {
    std::string path;
    uint32_t depth = 0;
  };

  void start_process(uint32_t process);
  void begin(const Mark& mark, int64_t t_ns);
  void end(const Mark& mark, int64_t t_ns);
  uint32_t place_in(uint32_t parent, uint32_t name);
  uint32_t new_row(uint32_t place, Phase phase);
  uint32_t row_of(const Begun& begun);
  void keep(Begun& begun);
  void order_rows();
  void walk();

  const int64_t start_ns_, end_ns_;
  const Phase root_phase_;
  Sweep result_;
  std::vector<Begun> begun_;
  std::vector<Place> places_;
  std::vector<std::string> names_;
  std::vector<int64_t> first_ns_;  // of each row
  std::vector<uint32_t> seen_by_;  // of each row: the process that entered it last
  std::unordered_map<std::string, uint32_t> name_of_;
  std::unordered_map<uint64_t, uint32_t> place_of_, row_of_;
  size_t path_bytes_ = 0;
  // Of the process at hand:
  uint32_t process_ = kNone;
  uint64_t next_seq_ = 0;
  uint64_t processes_ = 0;
  std::unordered_map<uint32_t, uint32_t> names_here_;
  std::unordered_map<uint64_t, uint32_t> begun_here_;
};

uint32_t Sweeper::place_in(uint32_t parent, uint32_t name) {
  const auto [found, added] = place_of_.try_emplace(uint64_t{parent} << 32 | name, parent);
  if (!added) return found->second;
  const Place& around = places_[parent];
  const size_t length = around.path.size() + names_[name].size() + 1;
  if (around.depth == kMaxDepth || places_.size() == kMaxPlaces ||
      path_bytes_ + length > kMaxPathBytes) {
    return parent;
  }
  path_bytes_ += length;
  Place place{around.path, around.depth + 1};
  if (parent != 0) place.path.push_back('/');
  place.path += names_[name];
  places_.push_back(std::move(place));
  return found->second = static_cast<uint32_t>(places_.size() - 1);
}

uint32_t Sweeper::new_row(uint32_t place, Phase phase) {
  const auto row = static_cast<uint32_t>(result_.rows.size());
  row_of_[uint64_t{place} << 2 | static_cast<unsigned>(phase)] = row;
  result_.rows.push_back({places_[place].path, phase, 0, 0, 0, false});
  first_ns_.push_back(start_ns_);
  seen_by_.push_back(kNone);
  return row;
}

uint32_t Sweeper::row_of(const Begun& begun) {
  const auto found = row_of_.find(uint64_t{begun.place} << 2 | static_cast<unsigned>(begun.phase));
  if (found != row_of_.end()) return found->second;
  const uint32_t row = new_row(begun.place, begun.phase);
  first_ns_[row] = begun.begin_ns;
  return row;
}

void Sweeper::start_process(uint32_t process) {
  process_ = process;
  next_seq_ = 0;
  ++processes_;
  names_here_.clear();
  begun_here_.clear();
}

void Sweeper::add(const ProcessMarks& marks) {
  if (marks.process != process_ || processes_ == 0) start_process(marks.process);
  for (const auto& [index, name] : marks.frame.names) {
    const auto [found, added] = name_of_.try_emplace(escape(name), names_.size());
    if (added) names_.push_back(found->first);
    names_here_[index] = found->second;
  }
  // A salvaged file has some frames twice.
  const uint64_t seen = next_seq_ - std::min(next_seq_, marks.frame.seq);
  for (size_t i = std::min<uint64_t>(seen, marks.frame.marks.size()); i < marks.frame.marks.size();
       ++i) {
    const Mark& mark = marks.frame.marks[i];
    int64_t t_ns = 0;
    if (__builtin_add_overflow(mark.t_ns, marks.shift_ns, &t_ns)) continue;
    mark.kind == Mark::Kind::kBegin ? begin(mark, t_ns) : end(mark, t_ns);
  }
  next_seq_ = std::max(next_seq_, marks.frame.seq + marks.frame.marks.size());
}

void Sweeper::begin(const Mark& mark, int64_t t_ns) {
  Begun begun{t_ns,
              kOpen,
              kNone,
              0,
              process_,
              0,
              mark.phase,
              (mark.flags & Mark::kResumed) != 0,
              (mark.flags & Mark::kSynced) != 0};
  const auto parent = begun_here_.find(mark.parent);
  if (mark.parent != 0 && parent != begun_here_.end()) begun.parent = parent->second;
  const bool nested = begun.parent != kNone;
  if (begun.phase == Phase::kUnset) begun.phase = nested ? begun_[begun.parent].phase : root_phase_;
  auto name = names_here_.find(mark.name);
  if (name == names_here_.end()) {
    const auto lost = name_of_.try_emplace("(name lost)", names_.size());
    if (lost.second) names_.push_back("(name lost)");
    name = names_here_.emplace(mark.name, lost.first->second).first;
  }
  begun.place = place_in(nested ? begun_[begun.parent].place : 0, name->second);
  begun_here_[mark.token] = static_cast<uint32_t>(begun_.size());
  begun_.push_back(begun);
}

void Sweeper::end(const Mark& mark, int64_t t_ns) {
  const auto found = begun_here_.find(mark.token);
  if (found == begun_here_.end()) return;
  Begun& begun = begun_[found->second];
  if (begun.end_ns != kOpen) return;
  begun.end_ns = std::max(t_ns, begun.begin_ns);
  begun.synced = begun.synced && (mark.flags & Mark::kSynced) != 0;
}

// Takes over what lies in the run, cut to it.
void Sweeper::keep(Begun& begun) {
  uint32_t parent = begun.parent == kNone ? 0 : begun_[begun.parent].entry;
  begun.entry = parent;
  const bool cut = begun.end_ns == kOpen;
  const bool instant = begun.begin_ns == begun.end_ns;
  if (begun.begin_ns >= end_ns_ + instant || begun.end_ns <= start_ns_ - instant) return;
  const int64_t from = std::max(begun.begin_ns, start_ns_);
  const int64_t to = std::min(begun.end_ns, end_ns_);
  auto& entries = result_.entries;
  // One that had closed before is no longer around this one.
  while (parent != 0 && entries[parent].end_ns <= from && entries[parent].begin_ns < from) {
    parent = entries[parent].parent;
  }
  if (entries[parent].depth == kMaxDepth) parent = entries[parent].parent;
  const uint32_t index = row_of(begun);
  Row& row = result_.rows[index];
  row.duration_s += static_cast<double>(to - from) * 1e-9;
  row.cut = row.cut || cut;
  if (!begun.resumed) ++row.count;
  if (begun.synced && !cut) ++row.synced;
  if (seen_by_[index] != begun.process) ++row.processes;
  seen_by_[index] = begun.process;
  first_ns_[index] = std::min(first_ns_[index], begun.begin_ns);
  begun.entry = static_cast<uint32_t>(entries.size());
  entries.push_back({from, to, index, parent, entries[parent].depth + 1});
}

void Sweeper::order_rows() {
  auto& rows = result_.rows;
  std::vector<uint32_t> order(rows.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin() + 1, order.end(),
                   [&](uint32_t a, uint32_t b) { return first_ns_[a] < first_ns_[b]; });
  std::vector<uint32_t> place(rows.size());
  std::vector<Row> sorted(rows.size());
  for (uint32_t i = 0; i < order.size(); ++i) {
    place[order[i]] = i;
    sorted[i] = std::move(rows[order[i]]);
  }
  rows = std::move(sorted);
  for (Sweep::Entry& entry : result_.entries) entry.row = place[entry.row];
}

// Puts beginnings and ends in order of time and finds when each row was open.
void Sweeper::walk() {
  struct Event {
    int64_t t_ns;
    uint32_t entry;
    bool end;
  };
  std::vector<Event> events;
  const auto& entries = result_.entries;
  events.reserve(2 * entries.size());
  for (uint32_t i = 1; i < entries.size(); ++i) {
    events.push_back({entries[i].begin_ns, i, false});
    events.push_back({entries[i].end_ns, i, true});
  }
  // At one instant beginnings come first: an entry without length begins before it ends, and a row
  // that is entered again where it was left stays open.
  std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
    if (a.t_ns != b.t_ns) return a.t_ns < b.t_ns;
    return a.end != b.end ? b.end : a.entry < b.entry;
  });
  auto& times = result_.times_ns;
  times.push_back(start_ns_);
  std::vector<uint32_t> open(result_.rows.size()), since(result_.rows.size());
  result_.steps.reserve(events.size());
  for (const Event& event : events) {
    if (event.t_ns != times.back()) times.push_back(event.t_ns);
    const auto time = static_cast<uint32_t>(times.size() - 1);
    result_.steps.push_back({time, event.entry, event.end});
    const uint32_t row = entries[event.entry].row;
    if (row == 0) continue;  // the root is open all the time
    if (!event.end) {
      if (open[row]++ == 0) since[row] = time;
    } else if (--open[row] == 0 && since[row] != time) {
      result_.opens.push_back({row, since[row], time});
    }
  }
  if (times.back() != end_ns_ || times.size() == 1) times.push_back(end_ns_);
  result_.opens.push_back({0, 0, static_cast<uint32_t>(times.size() - 1)});
}

Sweep Sweeper::finish() {
  for (Begun& begun : begun_) keep(begun);
  Row& root = result_.rows[0];
  root.count = 1;
  root.processes = std::max<uint64_t>(processes_, 1);
  root.duration_s = static_cast<double>(end_ns_ - start_ns_) * 1e-9;
  order_rows();
  walk();
  return std::move(result_);
}

}  // namespace

std::vector<double> Sweep::share(std::span<const double> energy_j) const {
  const Stop all{times_ns.back(), energy_j.back()};
  return std::move(share(energy_j, std::span(&all, 1)).front());
}

std::vector<std::vector<double>> Sweep::share(std::span<const double> energy_j,
                                              std::span<const Stop> stops) const {
  // `level` is the integral of dE / n, so an entry's own is its rise while it is innermost. Of a
  // row that is the level at which its entries ceased to be less the one at which they came to be.
  std::vector<double> ceased_j(rows.size());
  std::vector<uint32_t> now(rows.size());        // innermost entries of each row
  std::vector<uint32_t> inside(entries.size());  // entries directly within that hold an open one
  std::vector<bool> open(entries.size());
  double level = 0, reached_j = 0;
  uint64_t innermost = 1;
  open[0] = true;
  now[0] = 1;
  const auto enter = [&](uint32_t entry) {
    const uint32_t row = entries[entry].row;
    ceased_j[row] -= level;
    ++now[row];
    ++innermost;
  };
  const auto leave = [&](uint32_t entry) {
    const uint32_t row = entries[entry].row;
    ceased_j[row] += level;
    --now[row];
    --innermost;
  };
  const auto begin = [&](uint32_t entry) {
    open[entry] = true;
    if (inside[entry] != 0) return;
    enter(entry);
    for (uint32_t at = entry; at != 0;) {
      at = entries[at].parent;
      if (inside[at]++ != 0) return;
      if (open[at]) return leave(at);
    }
  };
  const auto end = [&](uint32_t entry) {
    open[entry] = false;
    if (inside[entry] != 0) return;  // still around open ones
    leave(entry);
    for (uint32_t at = entry; at != 0;) {
      at = entries[at].parent;
      if (--inside[at] != 0) return;
      if (open[at]) return enter(at);
    }
  };
  const auto rise = [&](double up_to_j) {
    level += (up_to_j - reached_j) / static_cast<double>(innermost);
    reached_j = up_to_j;
  };
  std::vector<std::vector<double>> own_j;
  const auto stop_until = [&](int64_t t_ns) {
    for (; own_j.size() < stops.size() && stops[own_j.size()].t_ns <= t_ns;) {
      rise(stops[own_j.size()].energy_j);
      std::vector<double>& own = own_j.emplace_back(ceased_j);
      for (size_t row = 0; row < own.size(); ++row) own[row] += now[row] * level;
    }
  };
  for (const Step& step : steps) {
    stop_until(times_ns[step.time]);
    rise(energy_j[step.time]);
    step.end ? end(step.entry) : begin(step.entry);
  }
  stop_until(times_ns.back());
  return own_j;
}

Sweep sweep(std::vector<ProcessMarks> marks, int64_t start_ns, int64_t end_ns, Phase root_phase) {
  std::stable_sort(marks.begin(), marks.end(), [](const ProcessMarks& a, const ProcessMarks& b) {
    return a.process != b.process ? a.process < b.process : a.frame.seq < b.frame.seq;
  });
  Sweeper sweeper(start_ns, end_ns, root_phase);
  for (const ProcessMarks& part : marks) sweeper.add(part);
  return sweeper.finish();
}

}  // namespace pyprof

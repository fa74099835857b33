#include "core/unit.h"

#include <cctype>
#include <cstring>

namespace pyprof {

std::string describe_errno(int error) {
  std::string text = std::strerror(error);
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text + " (errno " + std::to_string(error) + ")";
}

std::string Unit::describe(int32_t code) const { return describe_errno(code); }

}  // namespace pyprof

#include "app/layer_list.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "app/text.h"
#include "vlm/attention_map.h"

namespace fovea::app {
namespace {

/// The whole of `text` as a number, or -1.
int layer_number(std::string_view text) {
  int value = -1;
  return read_number(text, value) ? value : -1;
}

}  // namespace

Result<std::vector<int>> parse_layers(const std::string& text, int layers) {
  if (text.empty()) return default_layers(layers);
  std::set<int> chosen;
  const std::string list = text == "all" ? "0-" + std::to_string(layers - 1) : text;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t comma = std::min(list.find(',', begin), list.size());
    const std::string_view part = std::string_view(list).substr(begin, comma - begin);
    const std::size_t dash = part.find('-');
    const int first = layer_number(part.substr(0, dash));
    const int last = dash == std::string_view::npos ? first : layer_number(part.substr(dash + 1));
    if (first < 0 || last < first || last >= layers) {
      return make_error(ErrorCode::usage,
                        format("\"%.60s\" names no layers of this model, which has 0 to %d",
                               text.c_str(), layers - 1))
          .in_field("--layers")
          .with_remedy("Write all, A-B, or a list such as 3,5,8-11");
    }
    for (int layer = first; layer <= last; ++layer) chosen.insert(layer);
    begin = comma + 1;
  }
  return std::vector<int>(chosen.begin(), chosen.end());
}

}  // namespace fovea::app

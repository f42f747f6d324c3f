#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/ops/alike/alike.h"
#include "kernels/ops/common/checks.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/alike/alike_cuda.h"
#endif

namespace fovea {
namespace {

struct Match {
  std::int64_t from = 0, to = -1;
  double cosine = -std::numeric_limits<double>::infinity();
};

/// The `merges` closest pairs, by the place of the token that merges away.
std::vector<Match> closest(ConstTensorView keys, std::int64_t special, std::int64_t merges) {
  const std::int64_t n = keys.rows(), channels = keys.shape[1];
  std::vector<double> norms(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    const float* key = keys.row<float>(i);
    norms[static_cast<std::size_t>(i)] =
        std::sqrt(std::inner_product(key, key + channels, key, 0.0));
  }
  std::vector<Match> matches;
  for (std::int64_t a = special + special % 2; a < n; a += 2) {
    Match match;
    match.from = a;
    for (std::int64_t b = special + 1 - special % 2; b < n; b += 2) {
      const float* first = keys.row<float>(a);
      const double scale = norms[static_cast<std::size_t>(a)] * norms[static_cast<std::size_t>(b)];
      const double dot = std::inner_product(first, first + channels, keys.row<float>(b), 0.0);
      const double cosine = scale > 0 ? dot / scale : 0.0;
      if (cosine > match.cosine) {
        match.cosine = cosine;
        match.to = b;
      }
    }
    if (match.to >= 0) matches.push_back(match);
  }
  std::stable_sort(matches.begin(), matches.end(),
                   [](const Match& x, const Match& y) { return x.cosine > y.cosine; });
  matches.resize(static_cast<std::size_t>(std::min<std::int64_t>(merges, std::ssize(matches))));
  std::sort(matches.begin(), matches.end(),
            [](const Match& x, const Match& y) { return x.from < y.from; });
  return matches;
}

Status check(const Context& context, ConstTensorView keys, ConstTensorView sizes,
             std::int64_t special, const AlikeTokens& tokens) {
  FOVEA_CHECK(check_f32_rank(context, "merge_alike keys", keys, 2));
  const std::int64_t n = keys.rows(), left = tokens.groups.offsets.rows() - 1;
  FOVEA_CHECK(check_f32_shape(context, "merge_alike sizes", sizes, {n}));
  FOVEA_CHECK(check_f32_shape(context, "merge_alike weights", tokens.weights, {n}));
  FOVEA_CHECK(check_f32_shape(context, "merge_alike new sizes", tokens.sizes, {left}));
  FOVEA_CHECK(check_f32_shape(context, "merge_alike bias", tokens.bias, {left}));
  const Groups& groups = tokens.groups;
  if (groups.offsets.dtype != DType::i32 || groups.members.dtype != DType::i32 ||
      groups.members.shape != Shape{n} || groups.members.device != context.device ||
      groups.offsets.device != context.device || special < 0 || special > n || left > n ||
      n - left > most_merges(n, special)) {
    return make_error(ErrorCode::usage, std::to_string(left) + " groups of " + std::to_string(n) +
                                            " tokens, " + std::to_string(special) +
                                            " of them left alone")
        .in_field("merge_alike groups");
  }
  return {};
}

}  // namespace

std::int64_t most_merges(std::int64_t n, std::int64_t special) {
  return std::max<std::int64_t>(0, (n - special) / 2);
}

Status merge_alike(Context& context, ConstTensorView keys, ConstTensorView sizes,
                   std::int64_t special, const AlikeTokens& tokens) {
  FOVEA_CHECK(check(context, keys, sizes, special, tokens));
  const std::int64_t n = keys.rows(), left = tokens.groups.offsets.rows() - 1;
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return merge_alike_cuda(context, keys, sizes, special, tokens);
#endif
  std::vector<std::vector<std::int32_t>> into(static_cast<std::size_t>(n));
  std::vector<bool> gone(static_cast<std::size_t>(n), false);
  for (const Match& match : closest(keys, special, n - left)) {
    into[static_cast<std::size_t>(match.to)].push_back(static_cast<std::int32_t>(match.from));
    gone[static_cast<std::size_t>(match.from)] = true;
  }
  std::int64_t group = 0;
  std::int32_t filled = 0;
  tokens.groups.offsets.as<std::int32_t>()[0] = 0;
  const auto add = [&](std::int64_t token) {
    std::vector<std::int32_t>& others = into[static_cast<std::size_t>(token)];
    others.insert(others.begin(), static_cast<std::int32_t>(token));
    double size = 0;
    for (const std::int32_t source : others) size += sizes.as<float>()[source];
    for (const std::int32_t source : others) {
      tokens.groups.members.as<std::int32_t>()[filled] = source;
      // A token by itself goes on as it is, to the bit.
      tokens.weights.as<float>()[filled++] =
          others.size() == 1 ? 1.0f : static_cast<float>(sizes.as<float>()[source] / size);
    }
    tokens.sizes.as<float>()[group] = static_cast<float>(size);
    tokens.bias.as<float>()[group] = std::log(static_cast<float>(size));
    tokens.groups.offsets.as<std::int32_t>()[++group] = filled;
  };
  for (std::int64_t i = 0; i < special; ++i) add(i);
  for (const std::int64_t parity : {0, 1}) {
    for (std::int64_t i = parity; i < n; i += 2) {
      if (i >= special && !gone[static_cast<std::size_t>(i)]) add(i);
    }
  }
  return {};
}

}  // namespace fovea

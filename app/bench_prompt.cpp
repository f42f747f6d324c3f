#include "app/bench_prompt.h"

#include <algorithm>

#include "app/text.h"

namespace fovea::app {
namespace {

constexpr std::int64_t kSystemTokens = 35;
constexpr std::int64_t kQuestionTokens = 29;

SequenceLayout make_layout(const LlavaModel& model, const BenchPrompt& prompt,
                           std::int64_t prompt_tokens) {
  SequenceLayout layout;
  const auto tokens = static_cast<std::size_t>(prompt_tokens);
  layout.kinds.assign(tokens, TokenKind::text);
  layout.visual_ids.assign(tokens, -1);
  std::fill_n(layout.kinds.begin(), prompt.system, TokenKind::system);
  // Without a tower the tokens stand in the squarest grid that holds them.
  std::int32_t grid =
      model.has_vision() ? static_cast<std::int32_t>(model.config().vision.grid()) : 1;
  while (!model.has_vision() && grid * grid < prompt.visual) ++grid;
  const Image picture = bench_picture(1);
  layout.pictures.push_back({picture.width, picture.height});
  for (std::int32_t id = 0; id < prompt.visual; ++id) {
    const auto position = static_cast<std::size_t>(prompt.system + id);
    layout.kinds[position] = TokenKind::visual;
    layout.visual_ids[position] = id;
    VisualToken token;
    token.row = id / grid;
    token.col = id % grid;
    layout.visual.push_back(token);
  }
  return layout;
}

}  // namespace

Image bench_picture(std::uint32_t seed) {
  Image picture = Image::filled(640, 480, 0, 0, 0);
  std::uint32_t state = seed;
  for (std::uint8_t& value : picture.rgb) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<std::uint8_t>(state >> 24);
  }
  return picture;
}

Result<BenchPrompt> make_bench_prompt(const LlavaModel& model, const BenchPlan& plan) {
  const LlavaConfig& config = model.config();
  constexpr std::int64_t around = kSystemTokens + kQuestionTokens;
  BenchPrompt prompt;
  prompt.visual = model.has_vision() ? config.visual_tokens_per_image()
                                     : std::max<std::int64_t>(0, plan.prompt_tokens - around);
  const std::int64_t text = plan.prompt_tokens - prompt.visual;
  if (text < 1) {
    return make_error(ErrorCode::usage,
                      format("a prompt of %lld tokens has no room for the picture's %lld and a "
                             "question",
                             static_cast<long long>(plan.prompt_tokens),
                             static_cast<long long>(prompt.visual)))
        .in_field("--prompt-tokens");
  }
  if (plan.prompt_tokens + plan.new_tokens > config.decoder.max_positions) {
    return make_error(ErrorCode::usage,
                      format("%lld prompt tokens and %d new ones are more than this model's "
                             "context of %lld",
                             static_cast<long long>(plan.prompt_tokens), plan.new_tokens,
                             static_cast<long long>(config.decoder.max_positions)))
        .in_field("--prompt-tokens");
  }
  prompt.system = std::min(kSystemTokens, text - 1);
  prompt.layout = make_layout(model, prompt, plan.prompt_tokens);
  prompt.ids.resize(static_cast<std::size_t>(plan.prompt_tokens));
  for (std::size_t i = 0; i < prompt.ids.size(); ++i) {
    prompt.ids[i] = static_cast<std::int32_t>((i * 7919 + 13) %
                                              static_cast<std::size_t>(config.decoder.vocab_size));
  }
  return prompt;
}

std::int64_t default_prompt_tokens(const LlavaConfig& config) {
  constexpr std::int64_t text = kSystemTokens + kQuestionTokens;
  return config.vision.layers > 0 ? text + config.visual_tokens_per_image() : 640;
}

}  // namespace fovea::app

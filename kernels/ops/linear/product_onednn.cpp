#include <array>
#include <exception>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>
#include <utility>

#include "kernels/ops/linear/onednn_product.h"
#include "kernels/ops/linear/onednn_threads.h"

namespace fovea {
namespace {

using Description = dnnl::memory::desc;
using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

/// What a prepared product depends on besides the weight.
struct Case {
  std::int64_t rows = 0;
  int threads = 0;
  Epilogue epilogue;

  bool operator==(const Case& other) const {
    return rows == other.rows && threads == other.threads &&
           epilogue.activation == other.epilogue.activation &&
           epilogue.accumulate == other.epilogue.accumulate;
  }
};

/// A prepared product; without primitive where oneDNN has none that is fast.
struct Prepared {
  Case key;
  dnnl::matmul primitive;
  Description x, weight, bias, y;
};

dnnl::primitive_attr attributes(const Epilogue& epilogue) {
  dnnl::post_ops operations;
  const auto eltwise = [&](dnnl::algorithm algorithm, float alpha) {
    operations.append_eltwise(1.0f, algorithm, alpha, 0.0f);
  };
  if (epilogue.accumulate) operations.append_sum(1.0f);
  switch (epilogue.activation) {
    case Activation::none:
      break;
    case Activation::gelu_erf:
      eltwise(dnnl::algorithm::eltwise_gelu_erf, 0.0f);
      break;
    case Activation::gelu_tanh:
      eltwise(dnnl::algorithm::eltwise_gelu_tanh, 0.0f);
      break;
    case Activation::quick_gelu:
      eltwise(dnnl::algorithm::eltwise_swish, 1.702f);
      break;
    case Activation::silu:
      eltwise(dnnl::algorithm::eltwise_swish, 1.0f);
      break;
    case Activation::relu:
      eltwise(dnnl::algorithm::eltwise_relu, 0.0f);
      break;
  }
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(operations);
  return attributes;
}

}  // namespace

struct OnednnProduct::Impl {
  // A model meets few row counts at a time: prompts of one length, and the rows pruning left.
  static constexpr std::size_t kPrepared = 8;

  const PackedWeight* weight = nullptr;
  const float* bias = nullptr;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  Description packed;
  std::mutex mutex;
  std::array<Prepared, kPrepared> prepared;
  std::size_t next = 0;

  Prepared prepare(const Case& key) const {
    Prepared made;
    made.key = key;
    made.x = Description({key.rows, weight->inputs}, Type::bf16, Tag::ab);
    made.y = Description({key.rows, weight->outputs}, Type::f32, Tag::ab);
    // oneDNN is asked for the layout it likes best, and taken at its word only if that is ours: a
    // layout forced upon it may send it to a slow product.
    const Description any({weight->inputs, weight->outputs}, Type::bf16, Tag::any);
    made.bias =
        bias == nullptr ? Description() : Description({1, weight->outputs}, Type::f32, Tag::ab);
    const auto description = bias == nullptr ? dnnl::matmul::desc(made.x, any, made.y)
                                             : dnnl::matmul::desc(made.x, any, made.bias, made.y);
    const dnnl::matmul::primitive_desc chosen(description, attributes(key.epilogue), engine, true);
    if (!chosen || chosen.weights_desc() != packed) return made;
    if (std::string(chosen.impl_info_str()).find("brg") == std::string::npos) return made;
    made.weight = chosen.weights_desc();
    made.primitive = dnnl::matmul(chosen);
    return made;
  }

  Prepared find(const Case& key) {
    const std::lock_guard lock(mutex);
    for (const Prepared& known : prepared) {
      if (known.key == key) return known;
    }
    Prepared& place = prepared[next];
    place = prepare(key);
    next = (next + 1) % kPrepared;
    return place;
  }
};

OnednnProduct::OnednnProduct() = default;
OnednnProduct::~OnednnProduct() = default;

std::unique_ptr<OnednnProduct> OnednnProduct::create(const PackedWeight& weight,
                                                     const float* bias) {
  if (weight.arithmetic != Arithmetic::bf16_dot || weight.panel != 64 || weight.inputs % 2 != 0) {
    return nullptr;
  }
  try {
    auto product = std::make_unique<OnednnProduct>();
    product->impl_ = std::make_unique<Impl>();
    Impl& impl = *product->impl_;
    impl.weight = &weight;
    impl.bias = bias;
    impl.packed = Description({weight.inputs, weight.outputs}, Type::bf16, Tag::BA16a64b2a);
    if (impl.packed.get_size() != weight.data.bytes()) return nullptr;
    return product;
  } catch (...) {
    return nullptr;  // no room, or no CPU engine: our own product does it
  }
}

Result<bool> OnednnProduct::apply(int threads, ConstTensorView x, TensorView y,
                                  const Epilogue& epilogue) const {
  if (!x.contiguous() || !y.contiguous()) return false;
  const OnednnThreads limit(threads);
  Prepared product;
  try {
    product = impl_->find({x.rows(), threads, epilogue});
  } catch (...) {
    return false;
  }
  if (!product.primitive) return false;
  try {
    const auto memory = [&](const Description& description, const void* data) {
      return dnnl::memory(description, impl_->engine, const_cast<void*>(data));
    };
    std::unordered_map<int, dnnl::memory> arguments = {
        {DNNL_ARG_SRC, memory(product.x, x.data)},
        {DNNL_ARG_WEIGHTS, memory(product.weight, impl_->weight->data.view().data)},
        {DNNL_ARG_DST, memory(product.y, y.data)}};
    if (impl_->bias != nullptr) {
      arguments.emplace(DNNL_ARG_BIAS, memory(product.bias, impl_->bias));
    }
    dnnl::stream stream(impl_->engine);
    product.primitive.execute(stream, arguments);
    stream.wait();
    return true;
  } catch (const std::exception& failure) {
    return make_error(ErrorCode::internal,
                      std::string("oneDNN failed in a matrix product: ") + failure.what());
  }
}

}  // namespace fovea

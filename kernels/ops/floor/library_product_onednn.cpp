#include <exception>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/ops/floor/library_product.h"
#include "kernels/ops/linear/onednn_threads.h"
#include "kernels/ops/linear/packed_weight.h"

namespace fovea {
namespace {

using Description = dnnl::memory::desc;
using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

void* bytes_of(ConstTensorView view) {
  return const_cast<std::byte*>(view.data);
}

class PackedLibraryProduct : public LibraryProduct {
 public:
  PackedLibraryProduct(int threads, ConstTensorView x, ConstTensorView weight, TensorView y,
                       int copies, Type type)
      : threads_(threads), type_(type) {
    const OnednnThreads limit(threads_);
    const std::int64_t rows = x.rows();
    const std::int64_t inputs = weight.shape[1];
    const std::int64_t outputs = weight.shape[0];
    const Description y_description({rows, outputs}, Type::f32, Tag::ab);
    const dnnl::matmul::primitive_desc chosen(
        dnnl::matmul::desc(Description({rows, inputs}, type, Tag::ab),
                           Description({inputs, outputs}, type, Tag::any), y_description),
        engine_);
    product_ = dnnl::matmul(chosen);
    y_ = dnnl::memory(y_description, engine_, y.data);
    x_ = converted({{rows, inputs}, Type::f32, Tag::ab}, x, chosen.src_desc());
    for (int copy = 0; copy < copies; ++copy) {
      weights_.push_back(
          converted({{inputs, outputs}, Type::f32, Tag::ba}, weight, chosen.weights_desc()));
    }
  }

  std::string name() const override { return type_ == Type::bf16 ? "onednn-bf16" : "onednn-f32"; }

  Status run(int index) override {
    const OnednnThreads limit(threads_);
    try {
      product_.execute(stream_, {{DNNL_ARG_SRC, x_},
                                 {DNNL_ARG_WEIGHTS, weights_[static_cast<std::size_t>(index)]},
                                 {DNNL_ARG_DST, y_}});
      stream_.wait();
    } catch (const std::exception& failure) {
      return make_error(ErrorCode::internal,
                        std::string("oneDNN failed in a matrix product: ") + failure.what());
    }
    return {};
  }

 private:
  dnnl::memory converted(const Description& from, ConstTensorView data, const Description& to) {
    dnnl::memory source(from, engine_, bytes_of(data));
    dnnl::memory target(to, engine_);
    dnnl::reorder(source, target).execute(stream_, source, target);
    stream_.wait();
    return target;
  }

  int threads_;
  Type type_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::matmul product_;
  dnnl::memory x_, y_;
  std::vector<dnnl::memory> weights_;
};

class PlainLibraryProduct : public LibraryProduct {
 public:
  PlainLibraryProduct(int threads, ConstTensorView x, TensorView y, std::vector<Tensor> weights)
      : threads_(threads), x_(x), y_(y), weights_(std::move(weights)) {}

  std::string name() const override { return "onednn-f32"; }

  Status run(int index) override {
    const OnednnThreads limit(threads_);
    const std::int64_t rows = x_.rows();
    const std::int64_t inputs = x_.shape[1];
    const std::int64_t outputs = y_.shape[1];
    const auto* weight = weights_[static_cast<std::size_t>(index)].as<float>();
    const dnnl_status_t status = dnnl_sgemm('N', 'T', rows, outputs, inputs, 1.0f, x_.as<float>(),
                                            inputs, weight, inputs, 0.0f, y_.as<float>(), outputs);
    if (status == dnnl_success) return {};
    return make_error(ErrorCode::internal, "oneDNN failed in a matrix product");
  }

 private:
  int threads_;
  ConstTensorView x_;
  TensorView y_;
  std::vector<Tensor> weights_;
};

}  // namespace

std::unique_ptr<LibraryProduct> LibraryProduct::create(Way way, int threads, ConstTensorView x,
                                                       ConstTensorView weight, TensorView y,
                                                       int copies, LinearDType dtype) {
  const bool bf16 = dtype == LinearDType::bf16 && packed_layout().has_bf16_dot;
  try {
    if (way == Way::packed) {
      return std::make_unique<PackedLibraryProduct>(threads, x, weight, y, copies,
                                                    bf16 ? Type::bf16 : Type::f32);
    }
    if (bf16) return nullptr;
    std::vector<Tensor> weights;
    for (int copy = 0; copy < copies; ++copy) {
      auto tensor = Tensor::allocate(weight.shape, DType::f32);
      if (!tensor) return nullptr;
      prefer_huge_pages(*tensor);
      if (!convert(weight, tensor->view())) return nullptr;
      weights.push_back(std::move(*tensor));
    }
    return std::make_unique<PlainLibraryProduct>(threads, x, y, std::move(weights));
  } catch (...) {
    return nullptr;
  }
}

}  // namespace fovea

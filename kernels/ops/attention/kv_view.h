#pragma once
// How attention finds keys and values: pages of tokens, with strides, and a length.

#include <cstdint>

#include "kernels/tensor.h"

namespace fovea {

/// Keys and values of one sequence in one layer. Token t lies in page t / page_tokens at slot
/// t % page_tokens; element (kv head h, slot s, channel c) of a page is at
/// page + (h * head_stride + s * token_stride + c) elements. A contiguous block (the key part of
/// a fused qkv product, say) is one page with page_tokens >= length. Values may have strides of
/// their own. Fastest to read: token_stride == head_dim, page_tokens a multiple of 64.
///
/// On a GPU the arrays of pages and the length lie in device memory, a page starts at a multiple of
/// 16 bytes, and max_length says on the host how many tokens there are at most.
struct KvView {
  const std::byte* const* key_pages = nullptr;
  const std::byte* const* value_pages = nullptr;
  std::int32_t page_tokens = 0;
  const std::int32_t* length = nullptr;  // tokens present
  std::int32_t max_length = 0;           // read on a GPU only
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  std::int64_t key_head_stride = 0, key_token_stride = 0;      // in elements
  std::int64_t value_head_stride = 0, value_token_stride = 0;  // in elements
  DType dtype = DType::f32;                                    // f32 or bf16; on a GPU also f16
};

}  // namespace fovea

#pragma once
// What this machine can do at best with the matrix products and the bytes of a model: the floors
// beside which `fovea bench` puts its times. Measured in the same process, with the same threads,
// on random data. A single call takes some seconds for a large model; callers interleave it with
// what they compare, and compare several calls with each other to see whether the machine is quiet.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/context.h"
#include "kernels/ops/linear/linear.h"

namespace fovea {

/// A product x[rows, inputs] W^T[inputs, outputs] that a model does `count` times, each time with
/// another weight.
struct ProductShape {
  std::int64_t rows = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  std::int64_t count = 1;
};

/// Seconds for one product of a shape, over weights packed beforehand, without bias or activation.
struct ProductFloor {
  ProductShape shape;
  double own_seconds = 0;      // Fovea's product; 0 where a GPU has none of its own
  double library_seconds = 0;  // oneDNN's, on a GPU cuBLASLt's; 0 where there is none
  double seconds = 0;          // the smaller of those there are
};

struct FloorReport {
  std::vector<ProductFloor> products;
  double seconds = 0;  // sum over the products of count times seconds
  /// Names of the products whose times make up the floor: "fovea-bf16", "onednn-f32", ..., joined
  /// by "+". Where oneDNN has no bfloat16, its float32 product stands in.
  std::string product;
};

/// Times the products one after the other. Each shape rotates over up to `count` weights, as many
/// as exceed the caches, so that a one-row product reads from memory as it does in a model.
/// Errors: usage (a size below 1), out_of_memory.
Result<FloorReport> measure_products_floor(Context& context, std::span<const ProductShape> shapes,
                                           LinearDType dtype);

/// Bytes per second at which the context's threads can read memory far larger than the caches:
/// the best of several passes. Errors: out_of_memory.
Result<double> measure_read_bandwidth(Context& context);

}  // namespace fovea

#pragma once
// Ratings of visual tokens by the words of a prompt (SparseVLM, FitPrune) and by a class token
// (AS-ViT), made of attention tiles.

#include <cstdint>
#include <span>

#include "kernels/context.h"

namespace fovea {

/// a[i] *= b[i], both f32 [n]. Errors: usage, as for all below.
Status multiply_scores(Context& context, TensorView a, ConstTensorView b);

/// numbers[i] += by, i32 [n].
Status shift_numbers(Context& context, TensorView numbers, std::int32_t by);

/// Share of every word in a rating: 1 / raters for raters, 0 for others. products: f32 [tokens,
/// words], each token's plain dot products with the words; a softmax over words, averaged over
/// tokens, in double; words above the mean over words are raters, or all where none is. shares: f32
/// [words], words >= 1.
Status rater_shares(Context& context, ConstTensorView products, TensorView shares);

/// ratings[h, c] = sum over rows r, in order, of tile[h, r, c] * (shares[r] / weights[|rows[r] -
/// columns[c]|]); rows of share 0 are left out. tile: f32 [heads, n, m]; shares: f32 [n]; rows and
/// columns: n and m positions; weights: one for each distance that occurs; ratings: f32 [heads, m].
Status rate_by_distance(Context& context, ConstTensorView tile, ConstTensorView shares,
                        std::span<const std::int32_t> rows, std::span<const std::int32_t> columns,
                        std::span<const float> weights, TensorView ratings);

/// sums[i] = sum of row i of x (f32 [rows, n]), in double, rounded once; sums: f32 [rows].
Status row_sums(Context& context, ConstTensorView x, TensorView sums);

/// mean[c] = sum over the k rows named, in order, of x[row, c] / k. x: f32 [., n]; rows: i32 [k], k
/// >= 1, where the context computes (on a GPU nobody checks them); mean: f32 [n].
Status mean_of_rows(Context& context, ConstTensorView x, ConstTensorView rows, TensorView mean);

/// scores[i] = sum over heads of class_rows[h, i] * r[h, i], with r[h, i] = norms[h, i] / (sum over
/// heads of norms[h, i] + 1e-8), in double, rounded once: each patch asks the heads that write most
/// into it. class_rows and norms: f32 [heads, n]; scores: f32 [n].
Status scores_by_head_norms(Context& context, ConstTensorView class_rows, ConstTensorView norms,
                            TensorView scores);

/// state[i] = old * state[i] + fresh * scores[i], each product and the sum rounded; both f32 [n].
Status blend_scores(Context& context, TensorView state, float old, ConstTensorView scores,
                    float fresh);

}  // namespace fovea

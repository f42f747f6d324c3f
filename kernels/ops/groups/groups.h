#pragma once
// Tokens that are merged in groups: which belong together, and what a selection makes of them.

#include <cstdint>

#include "kernels/context.h"

namespace fovea {

/// n things in g groups: group i has members[offsets[i]] .. members[offsets[i + 1] - 1], of which
/// the first stands for it. i32, where the context computes.
struct Groups {
  TensorView offsets;  // [g + 1]
  TensorView members;  // [n]
};

/// Density-peak clustering of the rows of x (f32 [n, d]) into g <= n groups, all in double:
/// distance |a - b| / sqrt(d); density exp(-mean of the squared distances to the g nearest, itself
/// among them); centres are the rows whose density times the distance to the nearest denser row (to
/// the farthest of all rows for the densest) is largest; every other row joins the nearest centre.
/// Among equals the lower index is denser, first chosen, and nearer. Groups come best centre first,
/// each with its centre first and its other rows ascending. Errors: usage, as for all below;
/// out_of_memory for the n x n distances.
Status density_peak_groups(Context& context, ConstTensorView x, const Groups& groups);

/// Every other thing joins the target it is most like, the first among equals. likeness: f32
/// [others, targets], targets >= 1. Members below `targets` are targets, member targets + i is
/// other i. Group t: target t, then the others that joined it, ascending.
Status join_most_alike(Context& context, ConstTensorView likeness, const Groups& groups);

/// The numbers of `all` that are not among `some`: i32, ascending. rest: as many as are left.
Status without(Context& context, ConstTensorView all, ConstTensorView some, TensorView rest);

enum class GroupWeights {
  mean,            // all members alike
  first_and_mean,  // the first as it is, and the mean of the others: a sum
};

/// A selection's lists of k survivors that stay as they are and g that are groups. singles: i32
/// [k]; names: i32 [n], what the groups' members are called; sources: i32 [k + n]; offsets: i32 [k
/// + g + 1]; weights: f32 [k + n].
Status singles_and_groups(Context& context, ConstTensorView singles, ConstTensorView names,
                          const Groups& groups, GroupWeights weigh, TensorView sources,
                          TensorView offsets, TensorView weights);

}  // namespace fovea

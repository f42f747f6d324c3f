#pragma once
// By which algorithms a device's matrix products are made: the user's side of the table.

#include <string>

#include "kernels/tensor.h"

namespace fovea {

/// From here on several-row products on `device` take the algorithms that the table of its card and
/// cuBLASLt's version holds, others the library's heuristics. With `autotune` each product is timed
/// when it is first met and the table, made where it is missing or broken, gets the fastest. Where
/// tables lie: kernels/ops/linear/algorithm_table.h. Called again with the same folder and wish it
/// changes nothing. Errors: usage (tuning on the CPU, or without a folder for the table), bad_input
/// (a broken table), io (it cannot be written), device.
Status use_algorithm_table(Device device, bool autotune);

/// One sentence on what is in use there; empty on the CPU.
std::string algorithms_note(Device device);

}  // namespace fovea

// Outputs. The first write to each new page of memory costs a fault, and malloc hands every large block back to the
// system when it is freed, so that to fault in the pages of an output can take as long as to compute it. So what a
// large output leaves is kept for the next, as torch keeps a GPU's memory.
#pragma once
#include <ATen/core/Tensor.h>

namespace dlbench {

// An uninitialised tensor.
at::Tensor fresh(at::IntArrayRef sizes, const at::TensorOptions& options);

// Gives back to the system what is kept for outputs to come; how many bytes that were.
int64_t release_memory();

}  // namespace dlbench

// Batches as the kernels by rows read them: each row without gaps, one after the other.
#pragma once
#include "perturb/arguments.h"

namespace dlbench {

// The tensor where it is contiguous or channels-last, else a contiguous copy.
inline at::Tensor dense_rows(const at::Tensor& t) {
  return t.is_contiguous() || is_channels_last(t) ? t : t.contiguous();
}

}  // namespace dlbench

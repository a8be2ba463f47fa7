// From torch's float types to the kernels' own.
#pragma once
#include <ATen/core/Tensor.h>

#include "perturb/element.h"

namespace dlbench {

// f(Element), by a value that only carries its type.
template <typename F>
void visit_elements(const char* name, at::ScalarType type, F f) {
  switch (type) {
    case at::kFloat:
      return f(float());
    case at::kDouble:
      return f(double());
    case at::kHalf:
      return f(Half());
    case at::kBFloat16:
      return f(BFloat16());
    default:
      TORCH_CHECK_TYPE(false, name, " must be float64, float32, bfloat16 or float16, not ", type);
  }
}

// What half types are computed in.
inline at::ScalarType widened(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

}  // namespace dlbench

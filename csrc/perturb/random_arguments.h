// What the CPU's and the GPU's glue of random_start have in common: checks, and the task as the kernels read it.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>

#include "perturb/dense_rows.h"
#include "perturb/random_start.h"

namespace dlbench {

inline Norm norm_of(c10::string_view name) {
  if (name == "linf") return Norm::linf;
  if (name == "l2") return Norm::l2;
  TORCH_CHECK_VALUE(name == "l1", "norm must be 'linf', 'l2' or 'l1', not '", name, "'");
  return Norm::l1;
}

struct RandomStartArguments {
  at::Tensor x, eps, ids, lower, upper;  // ids may be undefined
  RandomStart start;

  RandomStartArguments(const at::Tensor& x_, const at::Tensor& eps_, c10::string_view norm, int64_t seed,
                       const std::optional<at::Tensor>& ids_, int64_t restart, const at::Tensor& lower_,
                       const at::Tensor& upper_)
      : x(dense_rows(x_)) {
    TORCH_CHECK_TYPE(x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble,
                     "x must be float32 or float64, not ", x.scalar_type());
    TORCH_CHECK_VALUE(x.dim() >= 1, "x must have a dimension of samples");
    TORCH_CHECK_VALUE(0 <= restart && restart < int64_t(1) << 32, "restart must be in [0, 2^32), not ", restart);
    const int64_t samples = x.size(0);
    SampleShape shape{x.dim() > 1 ? x.size(1) : 1, 1, is_channels_last(x)};
    for (int64_t d = 2; d < x.dim(); ++d) shape.pixels *= x.size(d);
    TORCH_CHECK_VALUE(shape.elements() < int64_t(1) << 32, "a sample has 2^32 elements or more: ", x.sizes());
    if (ids_) {
      TORCH_CHECK_TYPE(ids_->scalar_type() == at::kLong, "sample_ids must be int64, not ", ids_->scalar_type());
      TORCH_CHECK_VALUE(ids_->dim() == 1 && ids_->numel() == samples, "sample_ids must have shape [", samples,
                        "], not ", ids_->sizes());
      TORCH_CHECK_VALUE(ids_->device() == x.device(), "sample_ids on ", ids_->device(), " must be on ", x.device());
      ids = ids_->contiguous();
    }
    start = {norm_of(norm),
             static_cast<uint64_t>(seed),
             static_cast<uint32_t>(restart),
             ids.defined() ? ids.const_data_ptr<int64_t>() : nullptr,
             numbers("eps", eps_, samples, eps),
             numbers("lower", lower_, shape.channels, lower),
             numbers("upper", upper_, shape.channels, upper),
             shape};
    // With one box for all and nothing to be reordered, a sample is one row.
    if (!shape.channels_last && start.lower.step == 0 && start.upper.step == 0)
      start.shape = {1, shape.elements(), false};
  }

 private:
  // One float64 number for all of n, or one for each; `kept` holds what the result points to.
  Numbers numbers(const char* name, const at::Tensor& given, int64_t n, at::Tensor& kept) const {
    TORCH_CHECK_TYPE(given.scalar_type() == at::kDouble, name, " must be float64, not ", given.scalar_type());
    TORCH_CHECK_VALUE(given.dim() == 0 || (given.dim() == 1 && given.numel() == n), name, " must have shape [] or [",
                      n, "], not ", given.sizes());
    TORCH_CHECK_VALUE(given.device() == x.device(), name, " on ", given.device(), " must be on ", x.device());
    kept = given.contiguous();
    return {kept.const_data_ptr<double>(), given.dim()};
  }
};

}  // namespace dlbench

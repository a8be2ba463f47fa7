// What the CPU's and the GPU's glue of the neighbours family have in common.
#pragma once
#include <ATen/ops/isfinite.h>

#include "neighbours/nearest.h"
#include "row_arguments.h"

namespace dlbench {

struct PointArguments {
  at::Tensor pos, clouds;
  bool loop;

  PointArguments(const at::Tensor& pos_, const at::Tensor& clouds_, bool loop_)
      : pos(pos_.contiguous()), clouds(clouds_.contiguous()), loop(loop_) {
    TORCH_CHECK_TYPE(pos.scalar_type() == at::kFloat || pos.scalar_type() == at::kDouble,
                     "pos must be float32 or float64, not ", pos.scalar_type());
    TORCH_CHECK_VALUE(pos.dim() == 2, "pos must have shape [points, dimensions], not ", pos.sizes());
    TORCH_CHECK_TYPE(clouds.scalar_type() == at::kLong, "clouds must be int64, not ", clouds.scalar_type());
    TORCH_CHECK_VALUE(clouds.dim() == 1 && clouds.numel() >= 1, "clouds must have shape [clouds + 1], not ",
                      clouds.sizes());
    TORCH_CHECK_VALUE(clouds.device() == pos.device(), "clouds on ", clouds.device(), " must be where pos is, on ",
                      pos.device());
    const at::Tensor outside = at::isfinite(pos).logical_not().nonzero();  // waits for a GPU
    if (outside.size(0) == 0) return;
    const auto point = outside[0][0].item<int64_t>(), axis = outside[0][1].item<int64_t>();
    TORCH_CHECK_VALUE(false, "pos has ", pos[point][axis].item<double>(), " at point ", point, ", coordinate ", axis,
                      "; every number must be finite");
  }

  int64_t points() const { return pos.size(0); }
  int64_t cloud_count() const { return clouds.numel() - 1; }

  template <typename Real>
  Points<Real> view() const {
    return {pos.const_data_ptr<Real>(), clouds.const_data_ptr<int64_t>(), points(), pos.size(1), cloud_count(), loop};
  }
};

}  // namespace dlbench

// What the CPU's and the GPU's glue of lp_norms and compact have in common.
#pragma once
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <vector>

#include "perturb/dense_rows.h"
#include "perturb/rows/norms.h"
#include "perturb/visit_elements.h"

namespace dlbench {

struct NormsArguments {
  at::Tensor a, b, norms;  // b may be undefined

  NormsArguments(const at::Tensor& a_, const OptionalTensor& b_) : a(dense_rows(a_)) {
    TORCH_CHECK_VALUE(a.dim() >= 1, "a must have a dimension of samples");
    norms = at::empty({a.size(0), 4}, a.options().dtype(at::kDouble).memory_format(std::nullopt));
    if (!b_) return;
    TORCH_CHECK_TYPE(b_->scalar_type() == a.scalar_type(), "b is ", b_->scalar_type(), " but a is ", a.scalar_type());
    TORCH_CHECK_VALUE(b_->sizes() == a.sizes(), "b has shape ", b_->sizes(), " but a has ", a.sizes());
    TORCH_CHECK_VALUE(b_->device() == a.device(), "b on ", b_->device(), " must be on a's device ", a.device());
    b = laid_out_as(*b_, a);
  }

  template <typename Element>
  NormsTask<Element> task() const {
    return {static_cast<const Element*>(a.const_data_ptr()),
            b.defined() ? static_cast<const Element*>(b.const_data_ptr()) : nullptr, norms.mutable_data_ptr<double>(),
            a.size(0), a.size(0) ? a.numel() / a.size(0) : 0};
  }
};

struct CompactArguments {
  at::Tensor keep, place, count;
  std::vector<at::Tensor> from, to;

  CompactArguments(const at::Tensor& keep_, at::TensorList tensors) : keep(keep_.contiguous()) {
    TORCH_CHECK_TYPE(keep.scalar_type() == at::kBool, "keep must be bool, not ", keep.scalar_type());
    TORCH_CHECK_VALUE(keep.dim() == 1, "keep must have shape [rows], not ", keep.sizes());
    const at::TensorOptions integers = keep.options().dtype(at::kLong);
    place = at::empty({rows()}, integers);
    count = at::empty({}, integers);
    for (const at::Tensor& tensor : tensors) {
      TORCH_CHECK_VALUE(tensor.dim() >= 1 && tensor.size(0) == rows(), "a tensor of shape ", tensor.sizes(),
                        " does not have keep's ", rows(), " rows");
      TORCH_CHECK_VALUE(tensor.device() == keep.device(), "a tensor on ", tensor.device(),
                        " must be on keep's device ", keep.device());
      from.push_back(dense_rows(tensor));
      to.push_back(at::empty_like(from.back()));
    }
  }

  int64_t rows() const { return keep.numel(); }
  int64_t row_bytes(size_t i) const { return rows() ? from[i].numel() / rows() * from[i].element_size() : 0; }
};

}  // namespace dlbench

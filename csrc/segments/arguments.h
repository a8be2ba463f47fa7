// What the CPU's and the GPU's glue of segment_reduce have in common.
#pragma once
#include <ATen/ops/empty.h>

#include "row_arguments.h"
#include "segments/segment_reduce.h"

namespace dlbench {

struct SegmentArguments {
  at::Tensor x, rowptr, out, arg;
  SegmentReduction reduction;

  SegmentArguments(const at::Tensor& x_, const at::Tensor& rowptr_, c10::string_view reduce)
      : x(x_.contiguous()), rowptr(checked_rowptr(rowptr_, x_.device())) {
    check_floats("x", x);
    TORCH_CHECK_VALUE(x.dim() == 2, "x must have shape [rows, features], not ", x.sizes());
    if (reduce == "sum")
      reduction = SegmentReduction::sum;
    else if (reduce == "mean")
      reduction = SegmentReduction::mean;
    else if (reduce == "max")
      reduction = SegmentReduction::max;
    else if (reduce == "min")
      reduction = SegmentReduction::min;
    else
      TORCH_CHECK_VALUE(false, "reduce must be 'sum', 'mean', 'max' or 'min', not '", reduce, "'");
    const bool chosen = reduction == SegmentReduction::max || reduction == SegmentReduction::min;
    out = at::empty({segments(), x.size(1)}, x.options().dtype(widened(x.scalar_type())));
    arg = at::empty({chosen ? segments() : 0, chosen ? x.size(1) : 0}, x.options().dtype(at::kLong));
  }

  int64_t segments() const { return rowptr.numel() - 1; }

  // f(Segments<Element, Real, Index>)
  template <typename F>
  void visit(F f) const {
    visit_elements("x", x.scalar_type(), [&](auto element) {
      using Element = decltype(element);
      using Real = Widened<Element>;
      visit_index(rowptr, [&](auto index) {
        using Index = decltype(index);
        f(Segments<Element, Real, Index>{static_cast<const Element*>(x.const_data_ptr()),
                                         rowptr.const_data_ptr<Index>(), out.mutable_data_ptr<Real>(),
                                         arg.mutable_data_ptr<int64_t>(), segments(), x.size(0), x.size(1)});
      });
    });
  }
};

}  // namespace dlbench

// What the CPU's and the GPU's glue of the losses have in common: checks, results, and the tasks as the kernels read them.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <optional>

#include "perturb/losses/losses.h"
#include "perturb/visit_elements.h"

namespace dlbench {

using Loss = std::tuple<at::Tensor, at::Tensor, at::Tensor>;  // loss, places, slopes

struct LossArguments {
  at::Tensor logits, y, target, loss, places, slopes;  // target may be undefined

  LossArguments(const at::Tensor& logits_, const at::Tensor& y_, const std::optional<at::Tensor>& target_, int places_a_row,
                int ranks)
      : logits(logits_.contiguous()), y(y_.contiguous()), target(target_ ? target_->contiguous() : at::Tensor()) {
    TORCH_CHECK_VALUE(logits.dim() == 2, "logits must have shape [samples, classes], not ", logits.sizes());
    TORCH_CHECK_VALUE(logits.size(1) >= ranks && logits.size(1) < INT32_MAX, "this loss needs ", ranks,
                      " classes at least; logits have shape ", logits.sizes());
    check_labels("y", y);
    if (target.defined()) check_labels("target", target);
    const at::TensorOptions options = logits.options().dtype(widened(logits.scalar_type()));
    loss = at::empty({logits.size(0)}, options);
    places = at::empty({logits.size(0), places_a_row}, options.dtype(at::kLong));
    slopes = at::empty({logits.size(0), places_a_row}, options);
  }

  Loss result() const { return {loss, places, slopes}; }

  template <typename Element>
  LossTask<Element> task() const {
    using Real = Widened<Element>;
    return {static_cast<const Element*>(logits.const_data_ptr()),
            y.const_data_ptr<int64_t>(),
            target.defined() ? target.const_data_ptr<int64_t>() : nullptr,
            loss.mutable_data_ptr<Real>(),
            places.mutable_data_ptr<int64_t>(),
            slopes.mutable_data_ptr<Real>(),
            logits.size(0),
            logits.size(1)};
  }

 private:
  void check_labels(const char* name, const at::Tensor& labels) const {
    TORCH_CHECK_TYPE(labels.scalar_type() == at::kLong, name, " must be int64, not ", labels.scalar_type());
    TORCH_CHECK_VALUE(labels.dim() == 1 && labels.size(0) == logits.size(0), name, " must have shape [",
                      logits.size(0), "], not ", labels.sizes());
    TORCH_CHECK_VALUE(labels.device() == logits.device(), name, " on ", labels.device(), " must be on ",
                      logits.device());
  }
};

struct SlopeArguments {
  at::Tensor places, slopes, grad, out;

  SlopeArguments(const at::Tensor& places_, const at::Tensor& slopes_, const at::Tensor& grad_, int64_t classes)
      : places(places_.contiguous()), slopes(slopes_.contiguous()), grad(grad_.contiguous()) {
    TORCH_CHECK_TYPE(places.scalar_type() == at::kLong, "places must be int64, not ", places.scalar_type());
    TORCH_CHECK_TYPE(slopes.scalar_type() == at::kFloat || slopes.scalar_type() == at::kDouble,
                     "slopes must be float32 or float64, not ", slopes.scalar_type());
    TORCH_CHECK_TYPE(grad.scalar_type() == slopes.scalar_type(), "grad is ", grad.scalar_type(), " but slopes are ",
                     slopes.scalar_type());
    TORCH_CHECK_VALUE(places.dim() == 2 && slopes.sizes() == places.sizes(), "places ", places.sizes(),
                      " and slopes ", slopes.sizes(), " must have one shape, [samples, width]");
    TORCH_CHECK_VALUE(grad.dim() == 1 && grad.size(0) == places.size(0), "grad must have shape [", places.size(0),
                      "], not ", grad.sizes());
    TORCH_CHECK_VALUE(places.device() == grad.device() && slopes.device() == grad.device(), "places on ",
                      places.device(), " and slopes on ", slopes.device(), " must be on grad's device ", grad.device());
    out = at::empty({grad.size(0), classes}, slopes.options());
  }

  template <typename Real>
  ScatterTask<Real> task() const {
    return {places.const_data_ptr<int64_t>(), slopes.const_data_ptr<Real>(), grad.const_data_ptr<Real>(),
            out.mutable_data_ptr<Real>(),     places.size(0),                places.size(1),
            out.size(1)};
  }

  // f(Real), by a value that only carries its type.
  template <typename F>
  void visit(F f) const {
    slopes.scalar_type() == at::kFloat ? f(float()) : f(double());
  }
};

}  // namespace dlbench

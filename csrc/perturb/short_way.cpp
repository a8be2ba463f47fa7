#include "perturb/short_way.h"

#include <ATen/PythonTorchFunctionTLS.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/Exceptions.h>

#include <cmath>
#include <optional>

#include "from_python.h"

namespace dlbench {
namespace {

namespace py = pybind11;
using OptionalTensor = std::optional<at::Tensor>;

bool fits(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad) {
  if (x_adv.scalar_type() != at::kFloat && x_adv.scalar_type() != at::kDouble) return false;
  if (x.scalar_type() != x_adv.scalar_type() || !is_float(grad)) return false;
  if (x.sizes() != x_adv.sizes() || grad.sizes() != x_adv.sizes()) return false;
  if (x.device() != x_adv.device() || grad.device() != x_adv.device()) return false;
  return !x_adv.requires_grad() && !x.requires_grad() && !grad.requires_grad();
}

struct Numbers {
  double eps, step_size, lower, upper;
};

// take(x_adv, x, grad, numbers), where three tensors and four numbers for the step's limits are given and there is
// nothing to observe. False where something does not fit, which the long way finds words for, or has something to do for
// first; then nothing has happened.
template <typename Take>
bool taken(py::handle x_adv_, py::handle x_, py::handle grad_, py::handle eps, py::handle step_size, py::handle lower,
           py::handle upper, Take take) {
  if (!is_plain(x_adv_) || !is_plain(x_) || !is_plain(grad_) || at::impl::torch_function_mode_enabled()) return false;
  for (const py::handle number : {eps, step_size, lower, upper})
    if (!PyFloat_CheckExact(number.ptr())) return false;
  const Numbers numbers{PyFloat_AS_DOUBLE(eps.ptr()), PyFloat_AS_DOUBLE(step_size.ptr()),
                        PyFloat_AS_DOUBLE(lower.ptr()), PyFloat_AS_DOUBLE(upper.ptr())};
  if (!(numbers.eps >= 0) || !std::isfinite(numbers.eps) || !std::isfinite(numbers.step_size)) return false;
  if (!(numbers.lower <= numbers.upper)) return false;
  const at::Tensor &x_adv = THPVariable_Unpack(x_adv_.ptr()), &x = THPVariable_Unpack(x_.ptr());
  const at::Tensor& grad = THPVariable_Unpack(grad_.ptr());
  if (!fits(x_adv, x, grad)) return false;
  const py::gil_scoped_release release;
  take(x_adv, x, grad, numbers);
  return true;
}

template <typename Schema>
auto operator_of(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Schema>();
}

bool linf_step(py::handle x_adv_, py::handle x_, py::handle grad_, py::handle eps, py::handle step_size,
               py::handle lower, py::handle upper) {
  HANDLE_TH_ERRORS
  using Schema = void(const at::Tensor&, const at::Tensor&, const at::Tensor&, double, double, double, double,
                      const OptionalTensor&, const OptionalTensor&, const OptionalTensor&);
  static const auto op = operator_of<Schema>("dlbench::linf_step_");
  return taken(x_adv_, x_, grad_, eps, step_size, lower, upper, [](const auto& x_adv, const auto& x, const auto& grad,
                                                                   const Numbers& n) {
    op.call(x_adv, x, grad, n.eps, n.step_size, n.lower, n.upper, std::nullopt, std::nullopt, std::nullopt);
  });
  END_HANDLE_TH_ERRORS_PYBIND
}

bool has_samples(py::handle tensor) { return is_plain(tensor) && THPVariable_Unpack(tensor.ptr()).dim() > 0; }

bool l2_step(py::handle x_adv_, py::handle x_, py::handle grad_, py::handle eps, py::handle step_size,
             py::handle lower, py::handle upper) {
  HANDLE_TH_ERRORS
  using Schema = void(const at::Tensor&, const at::Tensor&, const at::Tensor&, double, double, double, double,
                      const OptionalTensor&, const OptionalTensor&);
  static const auto op = operator_of<Schema>("dlbench::l2_step_");
  if (!has_samples(x_adv_)) return false;
  return taken(x_adv_, x_, grad_, eps, step_size, lower, upper, [](const auto& x_adv, const auto& x, const auto& grad,
                                                                   const Numbers& n) {
    op.call(x_adv, x, grad, n.eps, n.step_size, n.lower, n.upper, std::nullopt, std::nullopt);
  });
  END_HANDLE_TH_ERRORS_PYBIND
}

bool l1_step(py::handle x_adv_, py::handle x_, py::handle grad_, py::handle eps, py::handle step_size,
             py::handle lower, py::handle upper, py::handle sparsity_) {
  HANDLE_TH_ERRORS
  using Schema = void(const at::Tensor&, const at::Tensor&, const at::Tensor&, double, double, double, double, double,
                      const OptionalTensor&, const OptionalTensor&, const OptionalTensor&);
  static const auto op = operator_of<Schema>("dlbench::l1_step_");
  if (!has_samples(x_adv_) || !PyFloat_CheckExact(sparsity_.ptr())) return false;
  const double sparsity = PyFloat_AS_DOUBLE(sparsity_.ptr());
  if (!(sparsity > 0 && sparsity <= 1)) return false;
  return taken(x_adv_, x_, grad_, eps, step_size, lower, upper, [&](const auto& x_adv, const auto& x, const auto& grad,
                                                                    const Numbers& n) {
    op.call(x_adv, x, grad, n.eps, n.step_size, n.lower, n.upper, sparsity, std::nullopt, std::nullopt, std::nullopt);
  });
  END_HANDLE_TH_ERRORS_PYBIND
}

}  // namespace

void bind_short_way(py::module_& module) {
  module.def("linf_step", &linf_step);
  module.def("l2_step", &l2_step);
  module.def("l1_step", &l1_step);
}

}  // namespace dlbench

#include "perturb/linf/short_way.h"

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

// Takes the step, with four numbers for its limits and nothing to observe. False where something does not fit, which the
// long way finds words for, or has something to do for first; then nothing has happened.
bool linf_step(py::handle x_adv_, py::handle x_, py::handle grad_, py::handle eps_, py::handle step_size_,
               py::handle lower_, py::handle upper_) {
  HANDLE_TH_ERRORS
  if (!is_plain(x_adv_) || !is_plain(x_) || !is_plain(grad_) || at::impl::torch_function_mode_enabled()) return false;
  for (const py::handle number : {eps_, step_size_, lower_, upper_})
    if (!PyFloat_CheckExact(number.ptr())) return false;
  const double eps = PyFloat_AS_DOUBLE(eps_.ptr()), step_size = PyFloat_AS_DOUBLE(step_size_.ptr());
  const double lower = PyFloat_AS_DOUBLE(lower_.ptr()), upper = PyFloat_AS_DOUBLE(upper_.ptr());
  if (!(eps >= 0) || !std::isfinite(eps) || !std::isfinite(step_size) || !(lower <= upper)) return false;
  const at::Tensor &x_adv = THPVariable_Unpack(x_adv_.ptr()), &x = THPVariable_Unpack(x_.ptr());
  const at::Tensor& grad = THPVariable_Unpack(grad_.ptr());
  if (!fits(x_adv, x, grad)) return false;
  using Schema = void(const at::Tensor&, const at::Tensor&, const at::Tensor&, double, double, double, double,
                      const OptionalTensor&, const OptionalTensor&, const OptionalTensor&);
  static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("dlbench::linf_step_", "").typed<Schema>();
  const py::gil_scoped_release release;
  op.call(x_adv, x, grad, eps, step_size, lower, upper, std::nullopt, std::nullopt, std::nullopt);
  return true;
  END_HANDLE_TH_ERRORS_PYBIND
}

}  // namespace

void bind_short_way(py::module_& module) { module.def("linf_step", &linf_step); }

}  // namespace dlbench

// The derivative of winograd_conv2d with respect to its input: the same operator, with the kernels turned round. The
// weights are fixed: whoever asks for their gradients is told.
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "dispatched.h"

namespace dlbench {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor call(const Tensor& x, const Tensor& kernels, const Tensor& back, const OptionalTensor& bias,
            const OptionalTensor& gate, c10::SymInt features, int64_t padding, bool relu) {
  using Schema = Tensor(const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&, const OptionalTensor&,
                        c10::SymInt, int64_t, bool);
  static const auto op = find<Schema>("dlbench::winograd_conv2d");
  return op.call(x, kernels, back, bias, gate, std::move(features), padding, relu);
}

class WinogradConv : public torch::autograd::Function<WinogradConv> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& kernels, const Tensor& back,
                        const OptionalTensor& bias, const OptionalTensor& gate, const c10::SymInt& features,
                        int64_t padding, bool relu) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const Tensor out = call(x, kernels, back, bias, gate, features, padding, relu);
    ctx->save_for_backward({kernels, back, gate.value_or(Tensor()), relu ? out : Tensor()});
    ctx->saved_data["channels"] = x.sym_size(1);
    ctx->saved_data["padding"] = padding;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor kernels = saved[0], back = saved[1], gate = saved[2], out = saved[3];
    const OptionalTensor open = out.defined() ? OptionalTensor(out.detach()) : std::nullopt;
    Tensor of_x = call(grads[0], back, kernels, std::nullopt, open, ctx->saved_data["channels"].toSymInt(),
                       2 - ctx->saved_data["padding"].toInt(), false);
    if (gate.defined()) of_x = at::where(gate > 0, of_x, at::zeros({}, of_x.options()));
    return {of_x, Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

Tensor winograd_conv2d(const Tensor& x, const Tensor& kernels, const Tensor& back, const OptionalTensor& bias,
                       const OptionalTensor& gate, c10::SymInt features, int64_t padding, bool relu) {
  const bool asked = at::GradMode::is_enabled();
  TORCH_CHECK_NOT_IMPLEMENTED(!asked || !(kernels.requires_grad() || (bias && bias->requires_grad())),
                              "winograd_conv2d has derivatives with respect to x only; its kernels and bias are fixed");
  refuse_forward_mode("winograd_conv2d", {x});
  if (asked && x.requires_grad()) return WinogradConv::apply(x, kernels, back, bias, gate, features, padding, relu);
  const at::AutoDispatchBelowADInplaceOrView below;
  return call(x, kernels, back, bias, gate, std::move(features), padding, relu);
}

TORCH_LIBRARY_IMPL(dlbench, Autograd, m) { m.impl("winograd_conv2d", winograd_conv2d); }

}  // namespace
}  // namespace dlbench

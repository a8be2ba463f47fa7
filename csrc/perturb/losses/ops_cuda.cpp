// The losses for torch, on an NVIDIA GPU, in torch's current stream. Whether labels are in range is not asked here, for
// the answer would have to be waited for: the loss of a row whose label is no class is NaN.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "perturb/losses/arguments.h"

namespace dlbench {
namespace {

template <LossKind kind>
Loss loss(const at::Tensor& logits, const at::Tensor& y, const std::optional<at::Tensor>& target) {
  const c10::cuda::CUDAGuard guard(logits.device());
  const LossArguments args(logits, y, target, kPlaces<kind>, kRanks<kind>);
  visit_elements("logits", logits.scalar_type(), [&](auto element) {
    loss_cuda<kind>(args.task<decltype(element)>(), c10::cuda::getCurrentCUDAStream().stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return args.result();
}

Loss margin_loss(const at::Tensor& logits, const at::Tensor& y) {
  return loss<LossKind::margin>(logits, y, std::nullopt);
}

Loss dlr_loss(const at::Tensor& logits, const at::Tensor& y, const std::optional<at::Tensor>& target) {
  return target ? loss<LossKind::targeted_dlr>(logits, y, target) : loss<LossKind::dlr>(logits, y, target);
}

at::Tensor scatter_slopes(const at::Tensor& places, const at::Tensor& slopes, const at::Tensor& grad, int64_t classes) {
  const c10::cuda::CUDAGuard guard(grad.device());
  const SlopeArguments args(places, slopes, grad, classes);
  args.visit([&](auto real) {
    scatter_slopes_cuda(args.task<decltype(real)>(), c10::cuda::getCurrentCUDAStream().stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return args.out;
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) {
  m.impl("margin_loss", margin_loss);
  m.impl("dlr_loss", dlr_loss);
  m.impl("scatter_slopes", scatter_slopes);
}

}  // namespace
}  // namespace dlbench

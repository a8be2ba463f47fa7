// winograd_conv2d for torch, on the CPU.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <optional>

#include "convolve/winograd.h"
#include "fresh.h"

namespace dlbench::convolve_on_cpu {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

// Products at one point, below which threads cost more than they save: two took as long as one from about there on.
constexpr int64_t kSerialProducts = 1 << 14;

at::Tensor winograd_conv2d(const at::Tensor& x_, const at::Tensor& kernels_, const at::Tensor&,
                           const OptionalTensor& bias_, const OptionalTensor& gate_, c10::SymInt features_,
                           int64_t padding, bool relu) {
  const int64_t features = features_.expect_int();
  TORCH_CHECK_TYPE(x_.scalar_type() == at::kFloat, "x must be float32, not ", x_.scalar_type());
  TORCH_CHECK_VALUE(padding >= 0 && padding <= 2, "padding must be 0, 1 or 2, not ", padding);
  TORCH_CHECK_VALUE(x_.dim() == 4, "x must have shape [images, channels, height, width], not ", x_.sizes());
  const at::Tensor x = x_.contiguous(at::MemoryFormat::ChannelsLast), kernels = kernels_.contiguous();
  const int64_t channels = x.size(1), panels = (features + kPanel - 1) / kPanel;
  TORCH_CHECK_VALUE(kernels.sizes() == at::IntArrayRef({panels, kPoints, channels, kPanel}), "kernels must have shape ",
                    at::IntArrayRef({panels, kPoints, channels, kPanel}), ", not ", kernels.sizes());
  TORCH_CHECK_TYPE(kernels.scalar_type() == at::kFloat, "kernels must be float32, not ", kernels.scalar_type());
  const auto prepared = [&](const char* name, const OptionalTensor& given, at::IntArrayRef sizes, auto format) {
    if (!given) return at::Tensor();
    TORCH_CHECK_TYPE(given->scalar_type() == at::kFloat, name, " must be float32, not ", given->scalar_type());
    TORCH_CHECK_VALUE(given->sizes() == sizes, name, " must have shape ", sizes, ", not ", given->sizes());
    return given->contiguous(format);
  };
  const at::Tensor bias = prepared("bias", bias_, {features}, at::MemoryFormat::Contiguous);
  const at::Tensor gate = prepared("gate", gate_, x.sizes(), at::MemoryFormat::ChannelsLast);
  const int64_t least = std::min(x.size(2), x.size(3)) + 2 * padding;
  TORCH_CHECK_VALUE(least >= 3 || x.numel() == 0, "x ", x.sizes(), " within a border of ", padding, " must not be smaller than 3x3");
  const auto out_size = [&](int64_t size) { return std::max<int64_t>(0, size == 0 ? 0 : size + 2 * padding - 2); };
  const at::Tensor out = fresh({x.size(0), out_size(x.size(2)), out_size(x.size(3)), features}, x.options());
  const Winograd task{x.const_data_ptr<float>(),
                      gate.defined() ? gate.const_data_ptr<float>() : nullptr,
                      kernels.const_data_ptr<float>(),
                      bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                      out.mutable_data_ptr<float>(),
                      x.size(0),
                      x.size(2),
                      x.size(3),
                      channels,
                      features,
                      padding,
                      relu};
  if (out.numel() > 0) {
    const bool serial = task.tiles() * channels * features < kSerialProducts;
    const int64_t at_once = winograd_tiles(task, serial ? 1 : at::get_num_threads());
    const int64_t calls = (task.tiles() + at_once - 1) / at_once;
    at::parallel_for(0, calls, serial ? calls : 1, [&](int64_t begin, int64_t end) {
      for (int64_t call = begin; call < end; ++call)
        winograd_cpu(task, call * at_once, std::min(task.tiles(), (call + 1) * at_once));
    });
  }
  return out.permute({0, 3, 1, 2});
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) { m.impl("winograd_conv2d", winograd_conv2d); }

}  // namespace
}  // namespace dlbench::convolve_on_cpu

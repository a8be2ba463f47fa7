// Batches as the kernels by rows read them: each row without gaps, one after the other.
#pragma once
#include <ATen/core/Tensor.h>

namespace dlbench {

inline bool is_channels_last(const at::Tensor& t) {
  return !t.is_contiguous() && ((t.dim() == 4 && t.is_contiguous(at::MemoryFormat::ChannelsLast)) ||
                                (t.dim() == 5 && t.is_contiguous(at::MemoryFormat::ChannelsLast3d)));
}

// The tensor where it is contiguous or channels-last, else a contiguous copy.
inline at::Tensor dense_rows(const at::Tensor& t) { return is_channels_last(t) ? t : t.contiguous(); }

}  // namespace dlbench

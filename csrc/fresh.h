// Large outputs. The first write to each new page of memory costs a fault, and to fault in small pages can take as long
// as to compute what is written. So the system is asked for large ones, of which 512 times fewer do, where it has them.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace dlbench {

// An uninitialised tensor.
inline at::Tensor fresh(at::IntArrayRef sizes, const at::TensorOptions& options) {
  at::Tensor out = at::empty(sizes, options);
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t kPage = 2 << 20;  // where the system's is another, nothing is lost but the hint
  if (out.is_cpu() && out.nbytes() >= 2 * kPage) {
    const auto begin = reinterpret_cast<uintptr_t>(out.mutable_data_ptr()), end = begin + out.nbytes();
    const uintptr_t first = (begin + kPage - 1) / kPage * kPage, last = end / kPage * kPage;
    madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);  // a system that refuses has its reasons
  }
#endif
  return out;
}

}  // namespace dlbench

#include "fresh.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/impl/alloc_cpu.h>

#include <algorithm>
#include <mutex>
#include <vector>

#ifdef __linux__
#include <pthread.h>
#include <sys/mman.h>
#endif

namespace dlbench {
namespace {

constexpr size_t kLeast = 128 << 10;  // bytes below which malloc keeps what is freed by itself
constexpr size_t kPage = 2 << 20;     // of a large page; where the system's is another, nothing is lost but a hint

struct Block {
  void* data;
  size_t size;
};

// Blocks in use and blocks kept. At most twice as much is kept as was in use at one time, so that a loop that makes
// outputs of a few sizes, each when the last is gone, meets all of them again.
class Outputs : public c10::Allocator {
 public:
  static Outputs& the() {
    static Outputs& outputs = *new Outputs;  // never destroyed: tensors may outlive whatever is
    return outputs;
  }

  c10::DataPtr allocate(size_t size) override {
    Block block = take(size);
    if (!block.data) block = new_block(size);
    use(block);
    return {block.data, new Block(block), [](void* block) { the().keep(static_cast<Block*>(block)); },
            c10::Device(c10::DeviceType::CPU)};
  }

  void copy_data(void* to, const void* from, size_t size) const override { default_copy_data(to, from, size); }

  int64_t release() {
    std::vector<Block> given_up;
    {
      std::lock_guard lock(mutex_);
      most_used_ = used_bytes_;
      kept_bytes_ = 0;
      given_up.swap(kept_);
    }
    return free_all(given_up);
  }

 private:
  Outputs() {
#ifdef __linux__
    // a child of fork has the memory, but not the thread that may hold the lock
    pthread_atfork([] { the().mutex_.lock(); }, [] { the().mutex_.unlock(); }, [] { the().mutex_.unlock(); });
#endif
  }

  // A kept block for so many bytes, or none. One somewhat larger does; the last one freed may be in a cache still.
  Block take(size_t size) {
    std::lock_guard lock(mutex_);
    const auto fits = [&](const Block& kept) { return kept.size >= size && kept.size <= size + size / 8; };
    const auto found = std::find_if(kept_.rbegin(), kept_.rend(), fits);
    if (found == kept_.rend()) return {nullptr, 0};
    const Block block = *found;
    kept_.erase(std::next(found).base());
    kept_bytes_ -= block.size;
    return block;
  }

  void use(Block block) {
    std::lock_guard lock(mutex_);
    used_bytes_ += block.size;
    most_used_ = std::max(most_used_, used_bytes_);
  }

  void keep(Block* block) {
    std::vector<Block> given_up;
    {
      std::lock_guard lock(mutex_);
      used_bytes_ -= block->size;
      kept_bytes_ += block->size;
      kept_.push_back(*block);
      while (kept_bytes_ > 2 * most_used_) {  // those freed longest ago go first
        given_up.push_back(kept_.front());
        kept_bytes_ -= kept_.front().size;
        kept_.erase(kept_.begin());
      }
    }
    delete block;
    free_all(given_up);
  }

  Block new_block(size_t size) {
    void* data;
    try {
      data = c10::alloc_cpu(size);
    } catch (const c10::Error&) {  // there is no memory, but what is kept here
      release();
      data = c10::alloc_cpu(size);
    }
#ifdef MADV_HUGEPAGE
    // of large pages, where there are any, 512 times fewer are faulted in
    const auto begin = reinterpret_cast<uintptr_t>(data), end = begin + size;
    const uintptr_t first = (begin + kPage - 1) / kPage * kPage, last = end / kPage * kPage;
    if (size >= 2 * kPage) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
    return {data, size};
  }

  static int64_t free_all(const std::vector<Block>& blocks) {
    int64_t bytes = 0;
    for (const Block& block : blocks) {
      bytes += int64_t(block.size);
      c10::free_cpu(block.data);
    }
    return bytes;
  }

  std::mutex mutex_;
  std::vector<Block> kept_;  // the one freed last at the end
  size_t used_bytes_ = 0, kept_bytes_ = 0, most_used_ = 0;
};

}  // namespace

at::Tensor fresh(at::IntArrayRef sizes, const at::TensorOptions& options) {
  const at::ScalarType type = c10::typeMetaToScalarType(options.dtype());
  const size_t size = c10::multiply_integers(sizes) * c10::elementSize(type);
  if (!options.device().is_cpu() || size < kLeast) return at::empty(sizes, options);
  return at::detail::empty_generic(sizes, &Outputs::the(), c10::DispatchKeySet(c10::DispatchKey::CPU), type, {});
}

int64_t release_memory() { return Outputs::the().release(); }

}  // namespace dlbench

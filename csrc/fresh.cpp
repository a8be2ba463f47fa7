#include "fresh.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/impl/alloc_cpu.h>
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace dlbench {
namespace {

constexpr size_t kLeast = 128 << 10;  // bytes below which malloc keeps what is freed by itself
constexpr size_t kPage = 2 << 20;     // of a large page; where the system's is another, nothing is lost but a hint
constexpr size_t kPace = 256;         // of the most that was in use, each freed block forgets one part in so many

struct Block {
  void* data;
  size_t size;
};

// Blocks in use and blocks kept. At most twice as much is kept as was in use at one time of late, so that a loop that
// makes outputs of a few sizes, each when the last is gone, meets all of them again. Blocks come from the system and go
// back to it: among malloc's they would tear holes that stay.
class Outputs : public c10::Allocator {
 public:
  static Outputs& the() {
    static Outputs& outputs = *new Outputs;  // never destroyed: tensors may outlive whatever is
    return outputs;
  }

  c10::DataPtr allocate(size_t size) override {
    // also what a tensor of ours is resized to
    void* data = size < kLeast ? c10::alloc_cpu(size) : taken(size);
    return {data, data, free, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return free; }

  void copy_data(void* to, const void* from, size_t size) const override { default_copy_data(to, from, size); }

  int64_t release() {
    std::lock_guard lock(mutex_);
    const size_t bytes = kept_bytes_;
    most_used_ = used_bytes_;
    give_up(0);
    return int64_t(bytes);
  }

 private:
  Outputs() {
    // a child of fork has the memory, but not the thread that may hold the lock
    pthread_atfork([] { the().mutex_.lock(); }, [] { the().mutex_.unlock(); }, [] { the().mutex_.unlock(); });
  }

  static void free(void* data) {
    if (data && !the().keep(data)) c10::free_cpu(data);
  }

  // A kept block for so many bytes, or a new one. One somewhat larger does; the last one freed may be in a cache still.
  void* taken(size_t size) {
    std::lock_guard lock(mutex_);
    const auto fits = [&](const Block& kept) { return kept.size >= size && kept.size <= size + size / 8; };
    const auto found = std::find_if(kept_.rbegin(), kept_.rend(), fits);
    Block block{nullptr, size};
    if (found != kept_.rend()) {
      block = *found;
      kept_.erase(std::next(found).base());
      kept_bytes_ -= block.size;
    } else {
      block.data = mapped(size);
      if (!block.data) give_up(0), block.data = mapped(size);
      TORCH_CHECK_WITH(OutOfMemoryError, block.data, "no memory for an output of ", size, " bytes");
    }
    used_.emplace(block.data, block.size);
    used_bytes_ += block.size;
    most_used_ = std::max(most_used_, used_bytes_);
    c10::reportMemoryUsageToProfiler(block.data, int64_t(block.size), used_bytes_, used_bytes_ + kept_bytes_,
                                     c10::Device(c10::DeviceType::CPU));
    return block.data;
  }

  // Whether the block is one of these.
  bool keep(void* data) {
    std::lock_guard lock(mutex_);
    const auto found = used_.find(data);
    if (found == used_.end()) return false;
    const Block block{data, found->second};
    used_.erase(found);
    used_bytes_ -= block.size;
    kept_.push_back(block);
    kept_bytes_ += block.size;
    most_used_ = std::max(used_bytes_, most_used_ - most_used_ / kPace);
    give_up(2 * most_used_);
    c10::reportMemoryUsageToProfiler(data, -int64_t(block.size), used_bytes_, used_bytes_ + kept_bytes_,
                                     c10::Device(c10::DeviceType::CPU));
    return true;
  }

  // Those freed longest ago, until no more than so many bytes are kept.
  void give_up(size_t most) {
    while (kept_bytes_ > most) {
      munmap(kept_.front().data, kept_.front().size);
      kept_bytes_ -= kept_.front().size;
      kept_.pop_front();
    }
  }

  // Null where there is no memory.
  static void* mapped(size_t size) {
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
    // of large pages, where there are any, 512 times fewer are faulted in
    const auto begin = reinterpret_cast<uintptr_t>(data), end = begin + size;
    const uintptr_t first = (begin + kPage - 1) / kPage * kPage, last = end / kPage * kPage;
    if (size >= 2 * kPage) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
    return data;
  }

  std::mutex mutex_;
  std::unordered_map<void*, size_t> used_;
  std::deque<Block> kept_;  // the one freed last at the end
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

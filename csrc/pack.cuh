// Elements that a thread of the GPU loads and stores at once.
#pragma once
#include <cstdint>

namespace dlbench {

template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T element[N];
};

template <typename T>
bool aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % alignof(T) == 0;
}

}  // namespace dlbench

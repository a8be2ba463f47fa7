// How many threads of a warp work together on one row or edge.
#pragma once
#include <cstdint>

namespace dlbench {

constexpr int kWarp = 32;

// The least power of two that covers `packs` of features, or a whole warp.
inline int lanes_for(int64_t packs) {
  int lanes = 1;
  while (lanes < packs && lanes < kWarp) lanes *= 2;
  return lanes;
}

}  // namespace dlbench

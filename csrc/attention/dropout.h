// Who is dropped: a function of a seed, the edge's number in the caller's order and the head alone, so that whoever needs
// it, in whatever direction, computes it again instead of keeping it.
#pragma once
#include "philox.h"

namespace dlbench {

struct Dropout {
  uint32_t below;  // a random word below it drops; 0 drops nothing
  double scale;    // of what is kept
  uint64_t seed;

  Dropout(double share, uint64_t seed) : below(share * 0x1p32), scale(1 / (1 - share)), seed(seed) {}

  // The words of heads 4 block to 4 block + 3.
  template <typename Word>
  DLBENCH_SHARED Words<Word> words(int64_t edge, int64_t block) const {
    return philox<Word>({uint32_t(edge), uint32_t(edge >> 32), uint32_t(block), 0}, seed);
  }
};

}  // namespace dlbench

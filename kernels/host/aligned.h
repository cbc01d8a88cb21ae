// Memory for arrays of numbers: aligned to a vector, and large ones to huge pages where the system has them. The candidates of
// two thousand rows lie on as many small pages, and each would miss the address cache of the processor once a tile.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace upm {

struct FreeAligned {
  std::align_val_t alignment{64};
  void operator()(void* p) const { ::operator delete(p, alignment); }
};
template <class T>
using Aligned = std::unique_ptr<T[], FreeAligned>;

// Not initialised.
template <class T>
Aligned<T> aligned(int64_t count) {
  constexpr size_t HUGE_PAGE = size_t{2} << 20;
  size_t bytes = sizeof(T) * static_cast<size_t>(count > 0 ? count : 1);
  const bool huge = bytes >= HUGE_PAGE / 8;
  if (huge) bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
  const std::align_val_t alignment{huge ? HUGE_PAGE : 64};
  T* p = static_cast<T*>(::operator new(bytes, alignment));
#ifdef MADV_HUGEPAGE
  if (huge) madvise(p, bytes, MADV_HUGEPAGE);
#endif
  return Aligned<T>(p, FreeAligned{alignment});
}

}  // namespace upm

// Memory for arrays of numbers: aligned to a vector, and large ones to huge pages where the system has them. The candidates of
// two thousand rows lie on as many small pages, and each would miss the address cache of the processor once a tile.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

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

// Memory kept from one call for the next: clearing fresh pages cost a tenth of a run. Any thread may take and give back.
class Spare {
 public:
  struct Piece {
    Aligned<char> memory;
    int64_t bytes = 0;
    template <class T>
    T* as() const {
      return reinterpret_cast<T*>(memory.get());
    }
  };

  Piece take(int64_t bytes) {
    {
      std::lock_guard<std::mutex> hold(guard_);
      for (size_t i = 0; i < pieces_.size(); ++i)
        if (pieces_[i].bytes >= bytes && pieces_[i].bytes <= 2 * bytes + (1 << 20)) {
          Piece found = std::move(pieces_[i]);
          pieces_.erase(pieces_.begin() + static_cast<int64_t>(i));
          return found;
        }
      pieces_.clear();  // none fits: rather give back than hold two sizes of each
    }
    return Piece{aligned<char>(bytes), bytes};
  }

  void give(Piece piece) {
    std::lock_guard<std::mutex> hold(guard_);
    pieces_.push_back(std::move(piece));
  }

 private:
  std::mutex guard_;
  std::vector<Piece> pieces_;
};

// A piece for the time of a scope.
class Borrowed {
 public:
  Borrowed(Spare& spare, int64_t bytes) : spare_(spare), piece_(spare.take(bytes)) {}
  ~Borrowed() { spare_.give(std::move(piece_)); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  template <class T>
  T* as() const {
    return piece_.template as<T>();
  }

 private:
  Spare& spare_;
  Spare::Piece piece_;
};

}  // namespace upm

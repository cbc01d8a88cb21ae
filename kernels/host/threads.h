// Threads that live for one call. The first exception of any of them is thrown again in the caller.
#pragma once
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace upm {

// Runs work(thread) on `threads` threads, the caller being thread 0. Where the system gives fewer, the rest runs in the caller.
template <class Work>
void on_threads(int threads, Work work) {
  std::exception_ptr failure;
  std::mutex guard;
  auto guarded = [&](int i) {
    try {
      work(i);
    } catch (...) {
      std::lock_guard<std::mutex> hold(guard);
      if (!failure) failure = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  others.reserve(threads);
  int started = 1;
  try {
    for (; started < threads; ++started) others.emplace_back(guarded, started);
  } catch (const std::system_error&) {
  }
  guarded(0);
  for (auto& t : others) t.join();
  for (int i = started; i < threads; ++i) guarded(i);
  if (failure) std::rethrow_exception(failure);
}

// work(i) for i in [0, count), each taken by whichever thread is free, `grain` at a time.
template <class Work>
void for_each(int threads, int64_t count, int64_t grain, Work work) {
  std::atomic<int64_t> next{0};
  on_threads(threads, [&](int thread) {
    for (;;) {
      const int64_t begin = next.fetch_add(grain);
      if (begin >= count) return;
      const int64_t end = begin + grain < count ? begin + grain : count;
      for (int64_t i = begin; i < end; ++i) work(thread, i);
    }
  });
}

}  // namespace upm

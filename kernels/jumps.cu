// Log jumps of all clocks over a leg. Twin: reference_jumps in upm_gpu/model/jumps.py; formula: jumps.cuh. The kernels that move the states add them.
#include "jumps.cuh"
#include "platform.cuh"

using upm::i32;
using upm::i64;
using upm::u32;
using upm::u64;

#define JUMP_THREADS 128

// size (C, stride). Grid (scenario tiles, C). Column s is scenario first + s, or listed[s] where a list is given.
UPM_GLOBAL UPM_LAUNCH_BOUNDS(JUMP_THREADS, 4)
    draw_jumps(u64 seed, u32 first, const u32* listed, i32 is_listed, i32 scenarios, i64 stride, u32 step, u32 stream, const u32* address, const double* mean,
               const double* deviation, i32 most, const double* threshold, i32 split_first, i32 split_last, const u32* split_stream, const u32* split_step,
               const i32* split_side, const i32* split_table, const double* split_threshold, double* size) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 c = (i32)blockIdx.y;
  if (s >= scenarios) return;
  const u32 scenario = is_listed ? listed[s] : first + (u32)s;
  const upm::PhiloxWords words = upm::philox4x32(scenario, address[c], step, stream, (u32)seed, (u32)(seed >> 32));
  double n = upm::jump_count(upm::first_uniform(words), threshold + (i64)c * most, most);
  double w = upm::jump_path(n, upm::normal_quantile(upm::second_uniform(words)));
  if (split_first < split_last)
    upm::jump_inside(seed, scenario, address[c], split_first, split_last, split_stream, split_step, split_side, split_table, split_threshold, most, &n, &w);
  size[c * stride + s] = upm::jump_size(n, w, mean[c], deviation[c]);
}

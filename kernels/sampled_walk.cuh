// Base draws of a sampled walk that are not Sobol points; those are in sobol.cuh. Twin: upm_gpu/model/sampling.py.
#ifndef UPM_SAMPLED_WALK_CUH
#define UPM_SAMPLED_WALK_CUH

#include "platform.cuh"
#include "sobol.cuh"
#include "walk.cuh"

namespace upm {

enum Sampler : i32 { SAMPLER_ANTITHETIC = 1, SAMPLER_MATCHED = 2, SAMPLER_SOBOL = 3, SAMPLER_SOBOL_SHIFT = 4, SAMPLER_IMPORTANCE = 5 };

// Whether a stream word is that of base-step normals (internal id FACTOR of upm_gpu/rng/streams.py).
UPM_INLINE bool is_base_stream(u32 stream) { return (stream & 0xffu) == 0u; }

// The normal of a pair, negated for its second scenario.
UPM_INLINE double mirrored(double n, u32 scenario) { return from_bits(bits_of(n) ^ ((u64)(scenario & 1u) << 63)); }
UPM_INLINE double antithetic_normal(u64 seed, u32 scenario, u32 factor, u32 step, u32 stream) {
  return mirrored(walk_normal(seed, scenario >> 1, factor, step, stream), scenario);
}

UPM_INLINE double matched_normal(double n, double mean, double inverse_deviation) { return (n - mean) * inverse_deviation; }

// Turned paths, see upm_gpu/model/turned.py. The least complement of `steps` uniforms from one coordinate, and another one above it.
#define UPM_TURNED_STEPS 10
UPM_INLINE double least_complement(double v, double steps) { return -expm1(log1p(-v) / steps); }
UPM_INLINE double complement_above(double least, double v) { return at_most(least + (1.0 - least) * v, 0.9999999999999999); }

// Step on which the largest score falls.
UPM_INLINE i32 winner_of(double u, double steps) { return to_int(at_most(floor(u * steps), steps - 1.0)); }

// Weight of a node in a step after the rotation that takes (even, ..., even) to the unit vector of the stretches; along_*: the node's component on each.
UPM_INLINE double turned_weight(double path, double even, double unit, double along_even, double along_unit, double cosine) {
  return (path - (even + unit) * ((along_even + along_unit) / (1.0 + cosine))) + (2.0 * unit) * along_even;
}

// A mixing score after its shift, kept on the table of the mixing variable: no plain draw reaches its ends.
UPM_INLINE double shifted_score(double q, double shift) { return clip(q + shift, -8.35, 8.35); }

// Component of the importance mixture that a scenario is drawn from: the number of thresholds below its uniform.
UPM_INLINE i32 mixture_component(u64 seed, u32 scenario, u32 stream, const double* threshold, i32 thresholds) {
  const double u = first_uniform(philox4x32(scenario, 0u, 0u, stream, (u32)seed, (u32)(seed >> 32)));
  i32 component = 0;
  for (i32 c = 0; c < thresholds; ++c) component += u > threshold[c] ? 1 : 0;
  return component;
}

}  // namespace upm

#endif

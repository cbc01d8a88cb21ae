// The only file that asks which compiler reads it. The formula headers beside it are plain C++ over the names below.
//
// Four readers:
//   g++ (host build, three ISA objects)   -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math
//   NVRTC, nvcc                           --fmad=false; no standard header, no CUDA header
//   the emulator of the tests             g++, with UPM_EMULATOR and its own macros defined before this file
//
// Every multiply-add that is fused is written `upm::fma`, and no math library is called except for fma itself on a
// processor without the instruction, where the C library's is exact too. So all readers give the same bits.
//
// Kernels (*.cu) use, and an emulator may define before including this file:
//   UPM_GLOBAL                    before a kernel's name; gives it C linkage and void
//   UPM_SHARED                    before a static shared array
//   UPM_DYNAMIC_SHARED(T, name)   declares the dynamic shared array of the launch
//   UPM_LAUNCH_BOUNDS(threads, blocks)   after UPM_GLOBAL, before the kernel's name
//   UPM_RESTRICT                  pointer qualifier
//   UPM_OUT_OF_LINE               before a large function that several others call
//   UPM_TABLE                     before the type of a constant array
//   UPM_KEEP_LOOP                 before a short loop of fixed length: g++ vectorises it instead of unrolling it into scalars
//   UPM_DEVICE_ARCH               compute capability x 10 of the pass (900), 0 on the host and in the emulator
// CUDA's own spellings (threadIdx, __syncthreads, __shfl_xor_sync, ...) are used as they are; the emulator has them.
#ifndef UPM_PLATFORM_CUH
#define UPM_PLATFORM_CUH

#if defined(__CUDACC__) && !defined(UPM_EMULATOR)
#define UPM_ON_DEVICE 1
#define UPM_INLINE __device__ __forceinline__
#define UPM_OUT_OF_LINE inline __device__ __noinline__
#define UPM_TABLE static __device__ const
#define UPM_KEEP_LOOP
#ifdef __CUDA_ARCH__
#define UPM_DEVICE_ARCH __CUDA_ARCH__
#else
#define UPM_DEVICE_ARCH 0
#endif
#ifndef UPM_GLOBAL
#define UPM_GLOBAL extern "C" __global__ void
#endif
#ifndef UPM_SHARED
#define UPM_SHARED __shared__
#endif
#ifndef UPM_DYNAMIC_SHARED
#define UPM_DYNAMIC_SHARED(T, name) extern __shared__ T name[]
#endif
#ifndef UPM_LAUNCH_BOUNDS
#define UPM_LAUNCH_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
#endif
#else
#define UPM_ON_DEVICE 0
#define UPM_INLINE static inline __attribute__((always_inline))
#define UPM_OUT_OF_LINE static inline __attribute__((noinline, unused))
#define UPM_TABLE static const
#define UPM_KEEP_LOOP _Pragma("GCC unroll 1")
#define UPM_DEVICE_ARCH 0
#endif

#ifndef UPM_RESTRICT
#define UPM_RESTRICT __restrict__
#endif

namespace upm {

// 32 and 64 bits on every reader: `long` is avoided because its width differs between them.
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

#if UPM_ON_DEVICE
UPM_INLINE double fma(double x, double y, double z) { return __fma_rn(x, y, z); }
UPM_INLINE double sqrt(double x) { return __dsqrt_rn(x); }
UPM_INLINE u64 bits_of(double x) { return (u64)__double_as_longlong(x); }
UPM_INLINE double from_bits(u64 b) { return __longlong_as_double((i64)b); }
#else
UPM_INLINE double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
UPM_INLINE double sqrt(double x) { return __builtin_sqrt(x); }
UPM_INLINE u64 bits_of(double x) { u64 b; __builtin_memcpy(&b, &x, sizeof b); return b; }
UPM_INLINE double from_bits(u64 b) { double x; __builtin_memcpy(&x, &b, sizeof x); return x; }
#endif

// A NaN in `x` comes through; a NaN in the bound does not. The order of the operands matters for that.
UPM_INLINE double at_most(double x, double bound) { return x > bound ? bound : x; }
UPM_INLINE double at_least(double x, double bound) { return x < bound ? bound : x; }
UPM_INLINE double clip(double x, double low, double high) { return at_most(at_least(x, low), high); }
UPM_INLINE double absolute(double x) { return from_bits(bits_of(x) & 0x7fffffffffffffffull); }
// |magnitude| with the sign of `sign`.
UPM_INLINE double with_sign(double magnitude, double sign) {
  return from_bits((bits_of(magnitude) & 0x7fffffffffffffffull) | (bits_of(sign) & 0x8000000000000000ull));
}
UPM_INLINE double infinity() { return from_bits(0x7ff0000000000000ull); }
UPM_INLINE double not_a_number() { return from_bits(0x7ff8000000000000ull); }

// Adding 1.5 x 2^52 leaves the nearest integer (ties to even) in the low bits of the sum: a conversion between double
// and integer that every vector unit has, unlike the 64-bit conversion instruction. Valid for |x| < 2^51.
#define UPM_ROUNDING_SHIFT 6755399441055744.0
UPM_INLINE double round_to_integer(double x) { return (x + UPM_ROUNDING_SHIFT) - UPM_ROUNDING_SHIFT; }
UPM_INLINE double floor(double x) {
  double nearest = round_to_integer(x);
  return nearest > x ? nearest - 1.0 : nearest;
}
// Low 32 bits of an integer-valued double, |x| < 2^31.
UPM_INLINE i32 to_int(double x) { return (i32)(u32)bits_of(x + UPM_ROUNDING_SHIFT); }
// Exact for k < 2^52.
UPM_INLINE double from_uint(u64 k) { return from_bits(k | 0x4330000000000000ull) - 4503599627370496.0; }

}  // namespace upm

#endif

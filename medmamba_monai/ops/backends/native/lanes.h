// A vector of SCAN_LANES floats and the few functions of it that the scan needs.
#pragma once
#include <stdint.h>
#include <string.h>

#define LANES SCAN_LANES

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
typedef float Float __attribute__((vector_size(4 * LANES)));
typedef int32_t Int __attribute__((vector_size(4 * LANES)));

INLINE Float splat(float x) { return x - Float{}; }
INLINE Int whole(int32_t x) { return x - Int{}; }
INLINE Float as_float(Int x) { return (Float)x; }
INLINE Int as_int(Float x) { return (Int)x; }
INLINE Float where_less(Float a, Float b, Float yes, Float no) { return a < b ? yes : no; }
#else
#define INLINE static __forceinline
struct Int;
struct Float {
    float v[LANES];
    float operator[](int i) const { return v[i]; }
};
struct Int {
    int32_t v[LANES];
};
#define FOR_LANES for (int i = 0; i < LANES; ++i)
INLINE Float splat(float x) { Float r; FOR_LANES r.v[i] = x; return r; }
INLINE Int whole(int32_t x) { Int r; FOR_LANES r.v[i] = x; return r; }
INLINE Float as_float(Int x) { Float r; memcpy(&r, &x, sizeof r); return r; }
INLINE Int as_int(Float x) { Int r; memcpy(&r, &x, sizeof r); return r; }
INLINE Float operator+(Float a, Float b) { FOR_LANES a.v[i] += b.v[i]; return a; }
INLINE Float operator-(Float a, Float b) { FOR_LANES a.v[i] -= b.v[i]; return a; }
INLINE Float operator*(Float a, Float b) { FOR_LANES a.v[i] *= b.v[i]; return a; }
INLINE Float operator/(Float a, Float b) { FOR_LANES a.v[i] /= b.v[i]; return a; }
INLINE Float operator-(Float a) { FOR_LANES a.v[i] = -a.v[i]; return a; }
INLINE Float &operator+=(Float &a, Float b) { return a = a + b; }
INLINE Int operator+(Int a, Int b) { FOR_LANES a.v[i] += b.v[i]; return a; }
INLINE Int operator&(Int a, Int b) { FOR_LANES a.v[i] &= b.v[i]; return a; }
INLINE Int operator<<(Int a, int s) { FOR_LANES a.v[i] = (int32_t)((uint32_t)a.v[i] << s); return a; }
INLINE Float where_less(Float a, Float b, Float yes, Float no) {
    FOR_LANES yes.v[i] = a.v[i] < b.v[i] ? yes.v[i] : no.v[i];
    return yes;
}
#endif

INLINE Float load(const float *p) { Float v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(float *p, Float v) { memcpy(p, &v, sizeof v); }
INLINE Float magnitude(Float x) { return as_float(as_int(x) & whole(0x7fffffff)); }

// 2^f on [-1/2, 1/2]: the first two terms are exact, so that decays near 1 keep their rate; error 1.1e-7.
INLINE Float exp2_fraction(Float f) {
    Float p = splat(0.0013300606f) * f + splat(0.0096696915f);
    p = p * f + splat(0.055505583f);
    p = p * f + splat(0.24022282f);
    p = p * f + splat(0.69314718f);
    return p * f + splat(1.0f);
}

// Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits of the sum.
#define ROUNDER 12582912.0f

// 2^x for |x| < 126.
INLINE Float exp2_near(Float x) {
    Float rounded = x + splat(ROUNDER);
    Float f = x - (rounded - splat(ROUNDER));
    return as_float(as_int(exp2_fraction(f)) + (as_int(rounded) << 23));
}

// 2^x for any x: infinite above 2^128, at least 2^-126, NaN stays NaN.
INLINE Float exp2_any(Float x) {
    x = where_less(splat(128.0f), x, splat(128.0f), x);
    x = where_less(x, splat(-126.0f), splat(-126.0f), x);
    Float rounded = x + splat(ROUNDER);
    Float f = x - (rounded - splat(ROUNDER));
    return exp2_fraction(f) * as_float((as_int(rounded) << 23) + whole(0x3f800000));
}

#define LOG2E 1.44269504f
#define LN2 0.69314718f

// log(1 + e) / e on [0, 1], error 3e-8.
INLINE Float log1p_ratio(Float e) {
    Float p = splat(0.0052326382f) * e + splat(-0.029505003f);
    p = p * e + splat(0.078225544f);
    p = p * e + splat(-0.13663208f);
    p = p * e + splat(0.19105987f);
    p = p * e + splat(-0.24842976f);
    p = p * e + splat(0.33319096f);
    p = p * e + splat(-0.49999493f);
    return p * e + splat(1.0f);
}

// exp(-|x|), the part that softplus and sigmoid share.
INLINE Float exp_minus(Float x) {
    x = magnitude(x) * splat(-LOG2E);
    return exp2_near(where_less(x, splat(-125.0f), splat(-125.0f), x));
}

// softplus(x) from e = exp_minus(x): max(x, 0) + log(1 + e); above 20 it is x to the last bit.
INLINE Float softplus(Float x, Float e) {
    return (x + magnitude(x)) * splat(0.5f) + e * log1p_ratio(e);
}

INLINE Float sigmoid(Float x) {
    Float e = exp_minus(x);
    return where_less(x, splat(0.0f), e, splat(1.0f)) / (splat(1.0f) + e);
}

// The larger of a running maximum and x; NaN once x was infinite or NaN, so that no such number passes for small.
INLINE Float larger(Float most, Float x) { return where_less(most, x, x, most) + (x - x); }

INLINE float largest(Float x) {
    float m = x[0];
    for (int i = 1; i < LANES; ++i) m = m < x[i] || x[i] != x[i] ? x[i] : m;
    return m;
}

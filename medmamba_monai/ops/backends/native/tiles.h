// Tiles of (time x lanes) in scratch memory: read from and written to tensors, with a transposition where needed.
#pragma once
#include "lanes.h"

// A tensor seen as lanes (channels or states) along time. With an index, step t lies at row index[t] and lanes are
// neighbours; without one, the steps of a lane are neighbours.
struct Strides {
    int64_t lane, time;
};

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#elif defined(__GNUC__)
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Int{__VA_ARGS__})
#endif

#if defined(SHUFFLE)
// One stage of a transposition by halves: trade the off-diagonal blocks of size s of every pair of rows s apart.
#define LOW(i, s) ((i) & (s) ? LANES + (i) - (s) : (i))
#define HIGH(i, s) ((i) & (s) ? LANES + (i) : (i) + (s))
#if LANES == 4
#define EVERY(M, s) M(0, s), M(1, s), M(2, s), M(3, s)
#elif LANES == 8
#define EVERY(M, s) M(0, s), M(1, s), M(2, s), M(3, s), M(4, s), M(5, s), M(6, s), M(7, s)
#else
#define EVERY(M, s)                                                                                        \
    M(0, s), M(1, s), M(2, s), M(3, s), M(4, s), M(5, s), M(6, s), M(7, s), M(8, s), M(9, s), M(10, s), \
        M(11, s), M(12, s), M(13, s), M(14, s), M(15, s)
#endif
#define STAGE(s)                                                      \
    for (int i = 0; i < LANES; ++i)                                   \
        if (!(i & s)) {                                               \
            Float low = SHUFFLE(rows[i], rows[i + s], EVERY(LOW, s)); \
            rows[i + s] = SHUFFLE(rows[i], rows[i + s], EVERY(HIGH, s)); \
            rows[i] = low;                                            \
        }

INLINE void transpose(Float *rows) {
#if LANES == 16
    UNROLL STAGE(8)
#endif
#if LANES >= 8
    UNROLL STAGE(4)
#endif
    UNROLL STAGE(2)
    UNROLL STAGE(1)
}
#else
INLINE void transpose(Float *rows) {
    for (int i = 0; i < LANES; ++i)
        for (int j = 0; j < i; ++j) {
            float x = rows[i].v[j];
            rows[i].v[j] = rows[j].v[i];
            rows[j].v[i] = x;
        }
}
#endif

#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif

// Ask for a tile that will be wanted soon: rows lie far apart, which the processor does not foresee.
static void prefetch_tile(const float *from, Strides at, const int32_t *index, int lanes, int steps) {
    if (index)
        for (int t = 0; t < steps; ++t)
            for (int i = 0; i < lanes; i += 16) PREFETCH(from + index[t] * at.time + i);
    else
        for (int i = 0; i < lanes; ++i)
            for (int t = 0; t < steps; t += 16) PREFETCH(from + i * at.lane + t);
}

static const float zeros[LANES] = {0};

// Read `lanes` <= LANES lanes of `steps` steps into tile[t * pitch + lane]. Missing lanes of a full vector become 0,
// or whatever lies behind them where `readable` numbers can be read in each row.
static void load_tile(const float *from, Strides at, const int32_t *index, int lanes, int steps, float *tile,
                      int pitch, int64_t readable = 0) {
    int t = 0;
    if (index) {
        for (; t < steps; ++t) {
            const float *row = from + index[t] * at.time;
            if (lanes == LANES || readable >= LANES) {
                store(tile + t * pitch, load(row));
            } else {
                for (int i = 0; i < LANES && i < pitch; ++i) tile[t * pitch + i] = i < lanes ? row[i] : 0.0f;
            }
        }
        return;
    }
    const float *lines[LANES];
    for (int i = 0; i < LANES; ++i) lines[i] = i < lanes ? from + i * at.lane : zeros;
    for (; t + LANES <= steps && pitch >= LANES; t += LANES) {
        Float rows[LANES];
        UNROLL for (int i = 0; i < LANES; ++i) rows[i] = load(lines[i] + (i < lanes ? t : 0));
        transpose(rows);
        UNROLL for (int i = 0; i < LANES; ++i) store(tile + (t + i) * pitch, rows[i]);
    }
    for (; t < steps; ++t)
        for (int i = 0; i < LANES && i < pitch; ++i) tile[t * pitch + i] = i < lanes ? from[i * at.lane + t] : 0.0f;
}

// Write the tile back, or add it to what is there.
static void store_tile(float *to, Strides at, const int32_t *index, int lanes, int steps, const float *tile,
                       int pitch, bool add) {
    int t = 0;
    if (index) {
        for (; t < steps; ++t) {
            float *row = to + index[t] * at.time;
            if (lanes == LANES) {
                Float x = load(tile + t * pitch);
                store(row, add ? load(row) + x : x);
            } else {
                for (int i = 0; i < lanes; ++i) row[i] = add ? row[i] + tile[t * pitch + i] : tile[t * pitch + i];
            }
        }
        return;
    }
    for (; t + LANES <= steps && pitch >= LANES; t += LANES) {
        Float rows[LANES];
        UNROLL for (int i = 0; i < LANES; ++i) rows[i] = load(tile + (t + i) * pitch);
        transpose(rows);
        UNROLL for (int i = 0; i < LANES; ++i) {
            if (i >= lanes) break;
            float *run = to + i * at.lane + t;
            store(run, add ? load(run) + rows[i] : rows[i]);
        }
    }
    for (; t < steps; ++t)
        for (int i = 0; i < lanes; ++i) {
            float *cell = to + i * at.lane + t;
            *cell = add ? *cell + tile[t * pitch + i] : tile[t * pitch + i];
        }
}

// The same for any number of lanes, LANES at a time. The tile needs LANES floats of slack behind its last row.
static void load_wide(const float *from, Strides at, const int32_t *index, int lanes, int steps, float *tile,
                      int64_t readable) {
    int pitch = (lanes + LANES - 1) / LANES * LANES;
    for (int i = 0; i < lanes; i += LANES)
        load_tile(from + i * at.lane, at, index, lanes - i < LANES ? lanes - i : LANES, steps, tile + i, pitch,
                  readable - i);
}

static void store_wide(float *to, Strides at, const int32_t *index, int lanes, int steps, const float *tile) {
    int pitch = (lanes + LANES - 1) / LANES * LANES;
    for (int i = 0; i < lanes; i += LANES)
        store_tile(to + i * at.lane, at, index, lanes - i < LANES ? lanes - i : LANES, steps, tile + i, pitch, false);
}

// Sum each of `count` vectors over its lanes, always in the same order; count is padded to a multiple of LANES.
static void sum_lanes(const float *vectors, int count, float *sums) {
    for (int i = 0; i < count; i += LANES) {
        Float rows[LANES];
        UNROLL for (int j = 0; j < LANES; ++j)
            rows[j] = i + j < count ? load(vectors + (i + j) * LANES) : splat(0.0f);
        transpose(rows);
        Float sum = rows[0];
        UNROLL for (int j = 1; j < LANES; ++j) sum += rows[j];
        store(sums + i, sum);
    }
}

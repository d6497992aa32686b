// What one call of the scan is: sizes, strides and addresses. library.py fills the same fields in the same order.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Steps between two saved states; also the length of a tile.
#define TILE 64

struct Job {
    int64_t batch, directions, paths, channels, states, length;
    int64_t rank;      // 0: delta is given for every channel; else it is dt_weight times `rank` numbers a step
    int64_t softplus;  // 1: step sizes go through softplus
    int64_t threads;
    int64_t splits;    // parts of a path's channels that run apart; in the backward each sums its own dB and dC
    int64_t merged;    // 1: all paths add into one output, in the order of their index
    // Strides in numbers: batch, direction, path, lane (channel, state or rank) and time.
    int64_t u_batch, u_path, u_lane, u_time;
    int64_t delta_batch, delta_direction, delta_path, delta_lane, delta_time;
    int64_t B_batch, B_direction, B_path, B_lane, B_time;
    int64_t C_batch, C_direction, C_path, C_lane, C_time;
    int64_t z_batch, z_path, z_lane;
    int64_t y_batch, y_path, y_lane, y_time;
    int64_t du_batch, du_path, du_lane, du_time;
    int64_t dB_split, dB_batch, dB_direction, dB_path, dB_lane, dB_time;  // also of dC and of d(delta) with a rank
    const int32_t *index;  // (paths, length): where step t of a path lies; null: in order
    const float *u, *delta, *dt_weight, *A, *B, *C, *D, *bias, *z;
    float *y;
    float *last;    // (batch, directions, paths, channels, states) or null
    float *starts;  // state at the start of every tile, or null when no gradient is wanted
    const float *dy, *dlast;
    float *du, *ddelta, *ddt_weight, *dA, *dB, *dC, *dD, *dbias, *dz;  // parameter gradients: one for every batch item
};

// One compiled copy of the kernel for an instruction set.
struct Kernel {
    const char *name;
    int lanes;
    int64_t (*scratch)(const Job *, int backward);  // floats one thread needs
    void (*forward)(const Job *, int64_t task, float *scratch);
    void (*backward)(const Job *, int64_t task, float *scratch);
};

static inline int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

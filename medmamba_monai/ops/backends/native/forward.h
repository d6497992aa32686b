// The recurrence over tiles. Lanes are channels; a block is LANES channels of one path.
#pragma once
#include "job.h"
#include "tiles.h"

// A place inside the job: which batch item, direction, path and channels.
struct Place {
    int64_t b, r, p, channel;
    int lanes;
};

// Scratch is handed out in order; every size is a multiple of LANES.
struct Scratch {
    float *next;
    float *take(int64_t count) {
        float *mine = next;
        next += count;
        return mine;
    }
};

static int64_t row_of(const Job *job, Place at) {
    return ((at.b * job->directions + at.r) * job->paths + at.p) * job->channels + at.channel;
}

static int64_t parameter_row(const Job *job, Place at) {
    return (at.r * job->paths + at.p) * job->channels + at.channel;
}

static const int32_t *index_of(const Job *job, Place at, int64_t t0) {
    return job->index ? job->index + at.p * job->length + t0 : nullptr;
}

static Float load_lanes(const float *from, int64_t stride, int lanes) {
    float x[LANES] = {0};
    for (int i = 0; i < lanes; ++i) x[i] = from[i * stride];
    return load(x);
}

static void store_lanes(float *to, int64_t stride, int lanes, Float x) {
    for (int i = 0; i < lanes; ++i) to[i * stride] = x[i];
}

static int64_t wide(int64_t lanes) { return parts(lanes, LANES) * LANES; }

static float *start_of(const Job *job, Place at, int64_t tile) {
    int64_t blocks = parts(job->channels, LANES);
    int64_t block = ((at.b * job->directions + at.r) * job->paths + at.p) * blocks + at.channel / LANES;
    return job->starts + (block * parts(job->length, TILE) + tile) * job->states * LANES;
}

// Parameters of one block, one vector for each state.
struct Block {
    Place at;
    float *A2;        // A * log2(e)
    float *h;         // the running state
    float *dt_weight;
    Float D, bias;
    float limit;      // largest |A2|
};

static void open_block(const Job *job, Block *block) {
    Place at = block->at;
    int64_t row = parameter_row(job, at);
    Float limit = splat(0.0f);
    for (int64_t n = 0; n < job->states; ++n) {
        Float a = load_lanes(job->A + row * job->states + n, job->states, at.lanes) * splat(LOG2E);
        store(block->A2 + n * LANES, a);
        store(block->h + n * LANES, splat(0.0f));
        limit = larger(limit, magnitude(a));
    }
    block->limit = largest(limit);
    for (int64_t i = 0; i < job->rank; ++i)
        store(block->dt_weight + i * LANES, load_lanes(job->dt_weight + row * job->rank + i, job->rank, at.lanes));
    block->D = job->D ? load_lanes(job->D + row, 1, at.lanes) : splat(0.0f);
    block->bias = job->bias ? load_lanes(job->bias + row, 1, at.lanes) : splat(0.0f);
}

// Numbers shared by all channels of a path: B, C and, with a rank, the small form of delta.
struct Shared {
    float *B, *C, *low;
};

static const float *B_of(const Job *job, Place at, int64_t t0) {
    return job->B + at.b * job->B_batch + at.r * job->B_direction + at.p * job->B_path +
           (job->index ? 0 : t0 * job->B_time);
}

static const float *C_of(const Job *job, Place at, int64_t t0) {
    return job->C + at.b * job->C_batch + at.r * job->C_direction + at.p * job->C_path +
           (job->index ? 0 : t0 * job->C_time);
}

// delta, or its small form, which a rank comes with; that one is read through an index only, so t0 counts for delta.
static const float *delta_of(const Job *job, Place at, int64_t t0) {
    return job->delta + at.b * job->delta_batch + at.r * job->delta_direction + at.p * job->delta_path +
           at.channel * job->delta_lane + (job->index ? 0 : t0 * job->delta_time);
}

// Rows read through an index hold the small delta, then B, then C.
static void load_shared(const Job *job, Place at, int64_t t0, int steps, Shared shared) {
    const int32_t *index = index_of(job, at, t0);
    int64_t states = job->states;
    at.channel = 0;
    load_wide(B_of(job, at, t0), {job->B_lane, job->B_time}, index, (int)states, steps, shared.B, 2 * states);
    load_wide(C_of(job, at, t0), {job->C_lane, job->C_time}, index, (int)states, steps, shared.C, states);
    if (job->rank)
        load_wide(delta_of(job, at, t0), {job->delta_lane, job->delta_time}, index, (int)job->rank, steps, shared.low,
                  job->rank + 2 * states);
}

static void prefetch_shared(const Job *job, Place at, int64_t t0, int steps) {
    at.channel = 0;
    if (job->index)
        prefetch_tile(delta_of(job, at, t0), {job->delta_lane, job->delta_time}, index_of(job, at, t0),
                      (int)(job->rank + 2 * job->states), steps);
}

static const float *u_of(const Job *job, Place at, int64_t t0) {
    return job->u + at.b * job->u_batch + at.p * job->u_path + at.channel * job->u_lane + (job->index ? 0 : t0);
}

static int64_t y_offset(const Job *job, Place at, int64_t t0) {
    return at.b * job->y_batch + at.p * job->y_path + at.channel * job->y_lane + (job->index ? 0 : t0);
}

static void load_u(const Job *job, Place at, int64_t t0, int steps, float *tile) {
    load_tile(u_of(job, at, t0), {job->u_lane, job->u_time}, index_of(job, at, t0), at.lanes, steps, tile, LANES);
}

// Where the tiles of a path begin, in the order they are run through.
struct Tiles {
    int64_t length, count;
    bool last_first;
    int64_t start(int64_t i) const { return (last_first ? count - 1 - i : i) * TILE; }
    int steps(int64_t t0) const { return (int)(length - t0 < TILE ? length - t0 : TILE); }
};

static Tiles tiles_of(const Job *job, bool last_first) { return {job->length, parts(job->length, TILE), last_first}; }

// Ask for what the block reads and writes in the tile at t0; `output` is y, or dy in the backward.
static void prefetch(const Job *job, Place at, const float *output, int64_t t0, int steps) {
    const int32_t *index = index_of(job, at, t0);
    prefetch_tile(u_of(job, at, t0), {job->u_lane, job->u_time}, index, at.lanes, steps);
    prefetch_tile(output + y_offset(job, at, t0), {job->y_lane, job->y_time}, index, at.lanes, steps);
    if (!job->rank)
        prefetch_tile(delta_of(job, at, t0), {job->delta_lane, job->delta_time}, nullptr, at.lanes, steps);
}

// Step sizes before the softplus.
static void load_raw_delta(const Job *job, const Block *block, int64_t t0, int steps, Shared shared, float *raw) {
    Place at = block->at;
    if (!job->rank) {
        load_tile(delta_of(job, at, t0), {job->delta_lane, job->delta_time}, nullptr, at.lanes, steps, raw, LANES);
        for (int t = 0; t < steps; ++t) store(raw + t * LANES, load(raw + t * LANES) + block->bias);
        return;
    }
    int64_t pitch = wide(job->rank);
    for (int t = 0; t < steps; ++t) {
        Float x = block->bias;
        for (int64_t i = 0; i < job->rank; ++i)
            x += load(block->dt_weight + i * LANES) * splat(shared.low[t * pitch + i]);
        store(raw + t * LANES, x);
    }
}

// Turn raw step sizes into step sizes dt and inputs du = dt * u; true when every exponent is small enough to be plain.
static bool step_sizes(const Job *job, const Block *block, int steps, const float *raw, const float *u, float *dt,
                       float *du) {
    Float most = splat(0.0f);
    // Two short loops, not one: the processor sees no further ahead than a few long chains of operations.
    for (int t = 0; job->softplus && t < steps; ++t) store(dt + t * LANES, exp_minus(load(raw + t * LANES)));
    for (int t = 0; t < steps; ++t) {
        Float x = load(raw + t * LANES);
        if (job->softplus) x = softplus(x, load(dt + t * LANES));
        most = larger(most, magnitude(x));
        store(dt + t * LANES, x);
        store(du + t * LANES, x * load(u + t * LANES));
    }
    return largest(most) * block->limit < 125.0f;
}

// A tile in the order it is run through: backwards when the direction is 1.
struct Run {
    const float *dt, *du, *B, *C;
    int steps;
    ptrdiff_t pitch;  // numbers between two steps of B and C
    bool backwards;
};

INLINE int step_at(const Run &run, int i) { return run.backwards ? run.steps - 1 - i : i; }

// NB states of one block through one tile, kept in registers; adds C h to y.
template <int NB, bool PLAIN>
static void run_states(const Run &run, const float *A2, float *state, const float *B, const float *C, float *y) {
    Float h[NB];
    for (int j = 0; j < NB; ++j) h[j] = load(state + j * LANES);
    for (int i = 0; i < run.steps; ++i) {
        int t = step_at(run, i);
        Float dt = load(run.dt + t * LANES), du = load(run.du + t * LANES), sum = load(y + t * LANES);
        const float *b = B + t * run.pitch, *c = C + t * run.pitch;
        UNROLL for (int j = 0; j < NB; ++j) {
            Float x = dt * load(A2 + j * LANES);
            Float decay = PLAIN ? exp2_near(x) : exp2_any(x);
            h[j] = decay * h[j] + du * splat(b[j]);
            sum += h[j] * splat(c[j]);
        }
        store(y + t * LANES, sum);
    }
    for (int j = 0; j < NB; ++j) store(state + j * LANES, h[j]);
}

#ifndef SCAN_STATES_AT_ONCE
#define SCAN_STATES_AT_ONCE (LANES == 16 ? 16 : 8)
#endif

template <bool PLAIN>
static void run_block(const Run &run, const float *A2, float *h, int64_t states, float *y) {
    int64_t n = 0;
#define RUN(NB)                                                                                              \
    for (; n + NB <= states; n += NB)                                                                        \
        run_states<NB, PLAIN>(run, A2 + n * LANES, h + n * LANES, run.B + n, run.C + n, y);
    if (SCAN_STATES_AT_ONCE >= 16) RUN(16)
    if (SCAN_STATES_AT_ONCE >= 8) RUN(8)
    RUN(4)
    RUN(1)
#undef RUN
}

// One tile of one block: everything between reading u and writing y.
static void forward_tile(const Job *job, Block *block, Shared shared, int64_t t0, int steps, float *tiles) {
    float *u = tiles, *raw = u + TILE * LANES, *dt = raw + TILE * LANES, *du = dt + TILE * LANES, *y = du + TILE * LANES;
    Place at = block->at;
    load_u(job, at, t0, steps, u);
    load_raw_delta(job, block, t0, steps, shared, raw);
    bool plain = step_sizes(job, block, steps, raw, u, dt, du);
    for (int t = 0; t < steps; ++t) store(y + t * LANES, block->D * load(u + t * LANES));
    if (job->starts)
        memcpy(start_of(job, at, t0 / TILE), block->h, sizeof(float) * job->states * LANES);
    Run run = {dt, du, shared.B, shared.C, steps, (ptrdiff_t)wide(job->states), at.r == 1};
    if (plain)
        run_block<true>(run, block->A2, block->h, job->states, y);
    else
        run_block<false>(run, block->A2, block->h, job->states, y);
    if (job->z) {
        const float *z = job->z + at.b * job->z_batch + at.p * job->z_path + at.channel * job->z_lane + t0;
        load_tile(z, {job->z_lane, 1}, nullptr, at.lanes, steps, raw, LANES);
        for (int t = 0; t < steps; ++t) {
            Float gate = load(raw + t * LANES);
            store(y + t * LANES, load(y + t * LANES) * gate * sigmoid(gate));
        }
    }
    bool add = at.r > 0 || (job->merged && at.p > 0);
    store_tile(job->y + y_offset(job, at, t0), {job->y_lane, job->y_time}, index_of(job, at, t0), at.lanes, steps, y,
               LANES, add);
}

// The blocks of one task and the memory they live in.
struct Team {
    Block *blocks;
    int64_t first, count;
};

static int64_t team_size(const Job *job) { return parts(parts(job->channels, LANES), job->splits); }

static void open_team(const Job *job, Team *team, Place at, int64_t split, Scratch *scratch) {
    int64_t size = team_size(job), all = parts(job->channels, LANES);
    team->first = split * size;
    team->count = all - team->first < size ? all - team->first : size;
    team->blocks = (Block *)scratch->take(wide(parts(size * (int64_t)sizeof(Block), sizeof(float))));
    for (int64_t i = 0; i < team->count; ++i) {
        Block *block = team->blocks + i;
        int64_t channel = (team->first + i) * LANES;
        int64_t left = job->channels - channel;
        block->at = {at.b, at.r, at.p, channel, (int)(left < LANES ? left : LANES)};
        block->A2 = scratch->take(job->states * LANES);
        block->h = scratch->take(job->states * LANES);
        block->dt_weight = scratch->take(job->rank * LANES);
        open_block(job, block);
    }
}

static Shared open_shared(const Job *job, Scratch *scratch) {
    Shared shared;
    shared.B = scratch->take(TILE * wide(job->states) + LANES);
    shared.C = scratch->take(TILE * wide(job->states) + LANES);
    shared.low = scratch->take(TILE * wide(job->rank) + LANES);
    return shared;
}

static void forward_path(const Job *job, Place at, int64_t split, Scratch scratch) {
    Team team;
    open_team(job, &team, at, split, &scratch);
    Shared shared = open_shared(job, &scratch);
    float *tiles = scratch.take(5 * TILE * LANES);
    Tiles order = tiles_of(job, at.r == 1);
    for (int64_t i = 0; i < order.count; ++i) {
        int64_t t0 = order.start(i), next = order.start(i + 1);
        load_shared(job, at, t0, order.steps(t0), shared);
        if (i + 1 < order.count) prefetch_shared(job, at, next, order.steps(next));
        for (int64_t k = 0; k < team.count; ++k) {
            if (i + 1 < order.count) prefetch(job, team.blocks[k].at, job->y, next, order.steps(next));
            forward_tile(job, team.blocks + k, shared, t0, order.steps(t0), tiles);
        }
    }
    for (int64_t k = 0; job->last && k < team.count; ++k) {
        Block *block = team.blocks + k;
        for (int64_t n = 0; n < job->states; ++n)
            store_lanes(job->last + row_of(job, block->at) * job->states + n, job->states, block->at.lanes,
                        load(block->h + n * LANES));
    }
}

// A task is one split of one path of one batch item, or of all its paths when they share the output.
static void forward_task(const Job *job, int64_t task, float *memory) {
    int64_t split = task % job->splits, rest = task / job->splits;
    int64_t b = job->merged ? rest : rest / job->paths;
    int64_t first = job->merged ? 0 : rest % job->paths, end = job->merged ? job->paths : first + 1;
    if (split * team_size(job) >= parts(job->channels, LANES)) return;
    for (int64_t p = first; p < end; ++p)
        for (int64_t r = 0; r < job->directions; ++r) forward_path(job, {b, r, p, 0, 0}, split, {memory});
}

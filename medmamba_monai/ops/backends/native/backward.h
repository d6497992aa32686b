// Gradients over tiles, last tile first: states are recomputed from the saved start of the tile, then run backwards.
#pragma once
#include "forward.h"

#ifndef SCAN_GRADIENT_STATES
#define SCAN_GRADIENT_STATES 4
#endif

// What the backward keeps for each block beside the forward's Block.
struct Gradient {
    Block block;
    float *carry;  // gradient of the state behind this tile times its decay
    float *dA, *ddt_weight;
    Float dD, dbias;
    float *u, *raw, *dt, *du, *dy;       // the tile
    float *into_input, *into_exponent;   // sums over states: of g B, and of g decay h A2
    float *y;                            // the output before the gate
    bool plain;
};

// Sums over the team's channels, a vector for each step and state: made whole by sum_lanes.
struct Sums {
    float *B, *C, *low;
};

template <int NB, bool PLAIN, bool GATED>
static void states_backward(const Run &run, const Gradient &g, int64_t n, const float *start, Sums sums,
                            float *decays, float *states) {
    const float *A2 = g.block.A2 + n * LANES, *B = run.B + n, *C = run.C + n;
    Float h[NB];
    for (int j = 0; j < NB; ++j) h[j] = load(start + (n + j) * LANES);
    for (int i = 0; i < run.steps; ++i) {
        int t = step_at(run, i);
        Float dt = load(run.dt + t * LANES), du = load(run.du + t * LANES), y = splat(0.0f);
        const float *b = B + t * run.pitch, *c = C + t * run.pitch;
        UNROLL for (int j = 0; j < NB; ++j) {
            Float x = dt * load(A2 + j * LANES);
            Float decay = PLAIN ? exp2_near(x) : exp2_any(x);
            store(decays + (i * NB + j) * LANES, decay);
            store(states + (i * NB + j) * LANES, h[j]);
            h[j] = decay * h[j] + du * splat(b[j]);
            if (GATED) y += h[j] * splat(c[j]);
        }
        if (GATED) store(g.y + t * LANES, load(g.y + t * LANES) + y);
    }
    Float carry[NB], dA[NB];
    for (int j = 0; j < NB; ++j) {
        store(states + (run.steps * NB + j) * LANES, h[j]);
        carry[j] = load(g.carry + (n + j) * LANES);
        dA[j] = splat(0.0f);
    }
    for (int i = run.steps - 1; i >= 0; --i) {
        int t = step_at(run, i);
        Float dt = load(run.dt + t * LANES), du = load(run.du + t * LANES), dy = load(g.dy + t * LANES);
        Float input = load(g.into_input + t * LANES), exponent = load(g.into_exponent + t * LANES);
        const float *b = B + t * run.pitch, *c = C + t * run.pitch;
        float *sum_B = sums.B + t * NB * LANES, *sum_C = sums.C + t * NB * LANES;
        const float *before = states + i * NB * LANES, *after = before + NB * LANES, *decay = decays + i * NB * LANES;
        UNROLL for (int j = 0; j < NB; ++j) {
            Float dh = carry[j] + dy * splat(c[j]);
            store(sum_C + j * LANES, load(sum_C + j * LANES) + dy * load(after + j * LANES));
            store(sum_B + j * LANES, load(sum_B + j * LANES) + dh * du);
            input += dh * splat(b[j]);
            carry[j] = dh * load(decay + j * LANES);
            Float q = carry[j] * load(before + j * LANES);
            exponent += q * load(A2 + j * LANES);
            dA[j] += q * dt;
        }
        store(g.into_input + t * LANES, input);
        store(g.into_exponent + t * LANES, exponent);
    }
    for (int j = 0; j < NB; ++j) {
        store(g.carry + (n + j) * LANES, carry[j]);
        // Sums of a tile first: adding every step to one total would lose digits over a long sequence.
        store(g.dA + (n + j) * LANES, load(g.dA + (n + j) * LANES) + dA[j]);
    }
}

static void open_gradient(const Job *job, Gradient *g, Scratch *scratch) {
    Block *block = &g->block;
    block->A2 = scratch->take(job->states * LANES);
    block->h = scratch->take(job->states * LANES);
    block->dt_weight = scratch->take(job->rank * LANES);
    g->carry = scratch->take(job->states * LANES);
    g->dA = scratch->take(job->states * LANES);
    g->ddt_weight = scratch->take(job->rank * LANES);
    float **tiles[] = {&g->u, &g->raw, &g->dt, &g->du, &g->dy, &g->into_input, &g->into_exponent, &g->y};
    for (float **tile : tiles) *tile = scratch->take(TILE * LANES);
    open_block(job, block);
    g->dD = g->dbias = splat(0.0f);
    memset(g->dA, 0, sizeof(float) * job->states * LANES);
    memset(g->ddt_weight, 0, sizeof(float) * job->rank * LANES);
    Place at = block->at;
    for (int64_t n = 0; n < job->states; ++n) {
        Float x = splat(0.0f);
        if (job->dlast) x = load_lanes(job->dlast + row_of(job, at) * job->states + n, job->states, at.lanes);
        store(g->carry + n * LANES, x);
    }
}

// Read a tile of the block and put the gradient of the output behind the gate into g->dy.
static void open_gradient_tile(const Job *job, Gradient *g, Shared shared, int64_t t0, int steps) {
    Place at = g->block.at;
    load_u(job, at, t0, steps, g->u);
    load_raw_delta(job, &g->block, t0, steps, shared, g->raw);
    g->plain = step_sizes(job, &g->block, steps, g->raw, g->u, g->dt, g->du);
    load_tile(job->dy + y_offset(job, at, t0), {job->y_lane, job->y_time}, index_of(job, at, t0), at.lanes, steps,
              g->dy, LANES);
    memset(g->into_input, 0, sizeof(float) * TILE * LANES);
    memset(g->into_exponent, 0, sizeof(float) * TILE * LANES);
    if (!job->z) return;
    // The loop over states needs dy * silu(z); g->into_input lends its place to z.
    const float *z = job->z + at.b * job->z_batch + at.p * job->z_path + at.channel * job->z_lane + t0;
    load_tile(z, {job->z_lane, 1}, nullptr, at.lanes, steps, g->into_input, LANES);
    for (int t = 0; t < steps; ++t) {
        Float gate = load(g->into_input + t * LANES);
        store(g->dy + t * LANES, load(g->dy + t * LANES) * gate * sigmoid(gate));
        store(g->y + t * LANES, g->block.D * load(g->u + t * LANES));
        store(g->into_input + t * LANES, splat(0.0f));
    }
}

// dz = dy silu'(z) y, with the output y before the gate.
static void close_gate(const Job *job, Gradient *g, int64_t t0, int steps) {
    Place at = g->block.at;
    float *z = g->dt, *dy = g->du;  // no longer needed
    load_tile(job->z + at.b * job->z_batch + at.p * job->z_path + at.channel * job->z_lane + t0, {job->z_lane, 1},
              nullptr, at.lanes, steps, z, LANES);
    load_tile(job->dy + y_offset(job, at, t0), {job->y_lane, job->y_time}, nullptr, at.lanes, steps, dy, LANES);
    for (int t = 0; t < steps; ++t) {
        Float gate = load(z + t * LANES), s = sigmoid(gate), one = splat(1.0f);
        store(g->y + t * LANES, load(dy + t * LANES) * load(g->y + t * LANES) * s * (one + gate * (one - s)));
    }
    store_tile(job->dz + row_of(job, at) * job->length + t0, {job->length, 1}, nullptr, at.lanes, steps, g->y, LANES,
               false);
}

// Turn the sums over states into the gradients of u and delta.
static void close_gradient_tile(const Job *job, Gradient *g, Shared shared, Sums sums, int64_t t0, int steps) {
    Place at = g->block.at;
    Float dD = splat(0.0f), dbias = splat(0.0f);
    for (int t = 0; t < steps; ++t) {
        Float u = load(g->u + t * LANES), dy = load(g->dy + t * LANES), input = load(g->into_input + t * LANES);
        dD += dy * u;
        Float ddelta = u * input + load(g->into_exponent + t * LANES) * splat(LN2);
        if (job->softplus) ddelta = ddelta * sigmoid(load(g->raw + t * LANES));
        dbias += ddelta;
        store(g->into_input + t * LANES, load(g->dt + t * LANES) * input + g->block.D * dy);
        store(g->into_exponent + t * LANES, ddelta);
    }
    g->dD += dD;
    g->dbias += dbias;
    for (int64_t i = 0; i < job->rank; ++i) {
        Float weight = load(g->block.dt_weight + i * LANES), dweight = splat(0.0f);
        for (int t = 0; t < steps; ++t) {
            float *sum = sums.low + (t * job->rank + i) * LANES;
            Float ddelta = load(g->into_exponent + t * LANES);
            store(sum, load(sum) + ddelta * weight);
            dweight += ddelta * splat(shared.low[t * wide(job->rank) + i]);
        }
        store(g->ddt_weight + i * LANES, load(g->ddt_weight + i * LANES) + dweight);
    }
    const int32_t *index = index_of(job, at, t0);
    float *du = job->du + at.b * job->du_batch + at.p * job->du_path + at.channel * job->du_lane + (index ? 0 : t0);
    store_tile(du, {job->du_lane, job->du_time}, index, at.lanes, steps, g->into_input, LANES, at.r > 0);
    if (!job->rank)
        store_tile(job->ddelta + row_of(job, at) * job->length + t0, {job->length, 1}, nullptr, at.lanes, steps,
                   g->into_exponent, LANES, false);
    if (job->z) close_gate(job, g, t0, steps);
}

static void close_gradient(const Job *job, const Gradient *g) {
    Place at = g->block.at;
    int64_t row = row_of(job, at);
    for (int64_t n = 0; n < job->states; ++n)
        store_lanes(job->dA + row * job->states + n, job->states, at.lanes, load(g->dA + n * LANES));
    for (int64_t i = 0; i < job->rank; ++i)
        store_lanes(job->ddt_weight + row * job->rank + i, job->rank, at.lanes, load(g->ddt_weight + i * LANES));
    if (job->dD) store_lanes(job->dD + row, 1, at.lanes, g->dD);
    if (job->dbias) store_lanes(job->dbias + row, 1, at.lanes, g->dbias);
}

// Memory of one task of the backward, beside its blocks.
struct Work {
    Shared shared;
    Sums sums;
    float *whole_B, *whole_C, *whole_low;  // the sums over lanes, (time, states) or (time, rank)
    float *decays, *states, *line;
};

template <int NB>
static void state_group(const Job *job, Gradient *team, int64_t count, const Work &work, int64_t t0, int steps,
                        int64_t n) {
    memset(work.sums.B, 0, sizeof(float) * TILE * NB * LANES);
    memset(work.sums.C, 0, sizeof(float) * TILE * NB * LANES);
    int64_t pitch = wide(job->states);
    for (int64_t k = 0; k < count; ++k) {
        Gradient *g = team + k;
        Run run = {g->dt, g->du, work.shared.B, work.shared.C, steps, (ptrdiff_t)pitch, g->block.at.r == 1};
        const float *start = start_of(job, g->block.at, t0 / TILE);
#define BACK(PLAIN, GATED) states_backward<NB, PLAIN, GATED>(run, *g, n, start, work.sums, work.decays, work.states)
        if (job->z)
            g->plain ? BACK(true, true) : BACK(false, true);
        else
            g->plain ? BACK(true, false) : BACK(false, false);
#undef BACK
    }
    const float *vectors[] = {work.sums.B, work.sums.C};
    float *whole[] = {work.whole_B, work.whole_C};
    for (int i = 0; i < 2; ++i) {
        sum_lanes(vectors[i], steps * NB, work.line);
        for (int t = 0; t < steps; ++t) memcpy(whole[i] + t * pitch + n, work.line + t * NB, sizeof(float) * NB);
    }
}

static void store_shared(const Job *job, Place at, int64_t split, const Work &work, int64_t t0, int steps) {
    const int32_t *index = index_of(job, at, t0);
    int64_t offset = split * job->dB_split + at.b * job->dB_batch + at.r * job->dB_direction + at.p * job->dB_path +
                     (index ? 0 : t0 * job->dB_time);
    Strides strides = {job->dB_lane, job->dB_time};
    store_wide(job->dB + offset, strides, index, (int)job->states, steps, work.whole_B);
    store_wide(job->dC + offset, strides, index, (int)job->states, steps, work.whole_C);
    if (!job->rank) return;
    int64_t pitch = wide(job->rank);
    sum_lanes(work.sums.low, (int)(steps * job->rank), work.line);
    for (int t = 0; t < steps; ++t)
        memcpy(work.whole_low + t * pitch, work.line + t * job->rank, sizeof(float) * job->rank);
    store_wide(job->ddelta + offset, strides, index, (int)job->rank, steps, work.whole_low);
}

static Work open_work(const Job *job, Scratch *scratch) {
    const int64_t group = SCAN_GRADIENT_STATES * LANES;
    int64_t most = job->rank > SCAN_GRADIENT_STATES ? job->rank : SCAN_GRADIENT_STATES;
    Work work;
    work.shared = open_shared(job, scratch);
    work.decays = scratch->take(TILE * group);
    work.states = scratch->take((TILE + 1) * group);
    work.sums.B = scratch->take(TILE * group);
    work.sums.C = scratch->take(TILE * group);
    work.sums.low = scratch->take(TILE * job->rank * LANES);
    work.whole_B = scratch->take(TILE * wide(job->states) + LANES);
    work.whole_C = scratch->take(TILE * wide(job->states) + LANES);
    work.whole_low = scratch->take(TILE * wide(job->rank) + LANES);
    work.line = scratch->take(wide(TILE * most) + LANES);
    return work;
}

static void backward_path(const Job *job, Place at, int64_t split, Scratch scratch) {
    int64_t size = team_size(job), first = split * size, left = parts(job->channels, LANES) - first;
    int64_t count = left < size ? left : size;
    Work work = open_work(job, &scratch);
    Gradient *team = (Gradient *)scratch.take(wide(parts(size * (int64_t)sizeof(Gradient), sizeof(float))));
    for (int64_t k = 0; k < count; ++k) {
        int64_t channel = (first + k) * LANES, rest = job->channels - channel;
        team[k].block.at = {at.b, at.r, at.p, channel, (int)(rest < LANES ? rest : LANES)};
        open_gradient(job, team + k, &scratch);
    }
    Tiles order = tiles_of(job, at.r == 0);
    for (int64_t i = 0; i < order.count; ++i) {
        int64_t t0 = order.start(i), next = order.start(i + 1);
        int steps = order.steps(t0);
        load_shared(job, at, t0, steps, work.shared);
        memset(work.sums.low, 0, sizeof(float) * TILE * job->rank * LANES);
        for (int64_t k = 0; k < count; ++k) open_gradient_tile(job, team + k, work.shared, t0, steps);
        if (i + 1 < order.count) prefetch_shared(job, at, next, order.steps(next));
        for (int64_t k = 0; i + 1 < order.count && k < count; ++k)
            prefetch(job, team[k].block.at, job->dy, next, order.steps(next));
        int64_t n = 0;
        for (; n + SCAN_GRADIENT_STATES <= job->states; n += SCAN_GRADIENT_STATES)
            state_group<SCAN_GRADIENT_STATES>(job, team, count, work, t0, steps, n);
        for (; n < job->states; ++n) state_group<1>(job, team, count, work, t0, steps, n);
        for (int64_t k = 0; k < count; ++k) close_gradient_tile(job, team + k, work.shared, work.sums, t0, steps);
        store_shared(job, at, split, work, t0, steps);
    }
    for (int64_t k = 0; k < count; ++k) close_gradient(job, team + k);
}

// A task is one split of one path of one batch item, both directions.
static void backward_task(const Job *job, int64_t task, float *memory) {
    int64_t split = task % job->splits, rest = task / job->splits;
    if (split * team_size(job) >= parts(job->channels, LANES)) return;
    for (int64_t r = 0; r < job->directions; ++r)
        backward_path(job, {rest / job->paths, r, rest % job->paths, 0, 0}, split, {memory});
}

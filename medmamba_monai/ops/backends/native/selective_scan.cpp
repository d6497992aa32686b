// The selective scan on a CPU. This file is compiled once for each instruction set (SCAN_VARIANT, SCAN_LANES) and
// once more without those names, for the plain C functions that pick a copy and share the work among threads.
#if defined(SCAN_VARIANT)
#include "backward.h"

// An upper bound of what forward_path and backward_path take.
static int64_t scratch_size(const Job *job, int backward) {
    int64_t states = job->states * LANES, rank = job->rank * LANES, tile = TILE * LANES;
    int64_t shared = 3 * (TILE * (wide(job->states) + wide(job->rank)) + LANES) * (backward ? 2 : 1);
    int64_t block = wide(parts(sizeof(Gradient), sizeof(float))) + 4 * states + 2 * rank + 8 * tile;
    int64_t work = 4 * (TILE + 1) * SCAN_GRADIENT_STATES * LANES + TILE * rank +
                   wide(TILE * (job->rank + SCAN_GRADIENT_STATES)) + LANES;
    return team_size(job) * block + shared + work + 8 * tile;
}

#define JOIN(a, b) a##b
#define NAMED(variant) JOIN(medmamba_kernel_, variant)
#define TEXT(x) #x
#define QUOTED(x) TEXT(x)
extern "C" const Kernel NAMED(SCAN_VARIANT) = {QUOTED(SCAN_VARIANT), LANES, scratch_size, forward_task, backward_task};

#else
#include "dispatch.h"
#endif

// The functions Python calls: choose a compiled copy, split a job into tasks, run them on torch's threads.
#pragma once
#include <stdlib.h>
#include <string.h>

#include "job.h"

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#include <pthread.h>
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif
#if defined(__APPLE__)
#include <dispatch/dispatch.h>
#endif
#if defined(_MSC_VER)
#include <intrin.h>
#include <malloc.h>
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define SCAN_X86
#endif

extern "C" const Kernel medmamba_kernel_portable;
#if defined(SCAN_X86)
extern "C" const Kernel medmamba_kernel_avx2, medmamba_kernel_avx2_wide, medmamba_kernel_avx512;
#endif

// ---- which copies this processor can run

static bool runs_avx2() {
#if defined(SCAN_X86) && defined(__GNUC__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#elif defined(SCAN_X86)
    int leaf1[4], leaf7[4];
    __cpuid(leaf1, 1);
    __cpuidex(leaf7, 7, 0);
    bool system = (leaf1[2] >> 27 & 1) && (_xgetbv(0) & 6) == 6;
    return system && (leaf1[2] >> 12 & 1) && (leaf7[1] >> 5 & 1);
#else
    return false;
#endif
}

static bool runs_avx512() {
#if defined(SCAN_X86) && defined(__GNUC__)
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
#elif defined(SCAN_X86)
    int leaf7[4];
    __cpuidex(leaf7, 7, 0);
    const unsigned wanted = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    return runs_avx2() && (_xgetbv(0) & 0xe6) == 0xe6 && ((unsigned)leaf7[1] & wanted) == wanted;
#else
    return false;
#endif
}

static const Kernel *runnable(const char *name) {
#if defined(SCAN_X86)
    if (!strcmp(name, "avx512")) return runs_avx512() ? &medmamba_kernel_avx512 : nullptr;
    if (!strcmp(name, "avx2")) return runs_avx2() ? &medmamba_kernel_avx2 : nullptr;
    if (!strcmp(name, "avx2_wide")) return runs_avx2() ? &medmamba_kernel_avx2_wide : nullptr;
#endif
    return strcmp(name, "portable") ? nullptr : &medmamba_kernel_portable;
}

static const Kernel *kernel = nullptr;

static const Kernel *chosen() {
    const char *best[] = {"avx512", "avx2", "portable"};
    for (int i = 0; !kernel; ++i) kernel = runnable(best[i]);
    return kernel;
}

// Force a copy by name; 0 when done, 1 when this processor cannot run it or the name is unknown.
EXPORT int medmamba_select(const char *name) {
    const Kernel *wanted = runnable(name);
    if (wanted) kernel = wanted;
    return wanted ? 0 : 1;
}

EXPORT const char *medmamba_selected() { return chosen()->name; }
EXPORT int medmamba_lanes() { return chosen()->lanes; }
EXPORT int medmamba_tile() { return TILE; }
EXPORT int medmamba_job_size() { return (int)sizeof(Job); }

// ---- scratch memory, kept between calls: fresh pages would cost more than short scans

static int64_t take_next(int64_t *counter) {
#if defined(_MSC_VER) && !defined(__clang__)
    return _InterlockedExchangeAdd64((volatile long long *)counter, 1);
#else
    return __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
#endif
}

static void *swap(void **slot, void *value) {
#if defined(_MSC_VER) && !defined(__clang__)
    return _InterlockedExchangePointer(slot, value);
#else
    return __atomic_exchange_n(slot, value, __ATOMIC_ACQ_REL);
#endif
}

#define SLOTS 64
#define KEPT_BYTES (4 << 20)
static void *slots[SLOTS];

struct Memory {
    int64_t bytes;
    float *numbers;
    void *raw;
};

static Memory *make_memory(int64_t bytes) {
    char *raw = (char *)malloc(sizeof(Memory) + bytes + 128);
    if (!raw) return nullptr;
    uintptr_t start = ((uintptr_t)raw + sizeof(Memory) + 127) / 64 * 64;
    Memory *memory = (Memory *)raw;
    *memory = {bytes, (float *)start, raw};
    return memory;
}

static Memory *take_memory(int64_t bytes) {
    for (int i = 0; i < SLOTS; ++i) {
        Memory *memory = (Memory *)swap(&slots[i], nullptr);
        if (!memory) continue;
        if (memory->bytes >= bytes) return memory;
        free(memory->raw);
        break;
    }
    return make_memory(bytes);
}

static void give_memory(Memory *memory) {
    for (int i = 0; memory && memory->bytes <= KEPT_BYTES && i < SLOTS; ++i)
        memory = (Memory *)swap(&slots[i], memory);
    if (memory) free(memory->raw);
}

// ---- threads

typedef void (*Parallel)(void (*work)(void *), void *data, unsigned threads, unsigned flags);
static Parallel parallel = nullptr;
static bool forked = false;

#if !defined(_WIN32)
static void mark_forked() { forked = true; }
#endif

// Take GOMP_parallel of the OpenMP library that torch itself uses, so that both share one pool of threads.
EXPORT void medmamba_use_threads(void *gomp_parallel) {
    if (!parallel) {
#if !defined(_WIN32)
        // The pool's threads do not survive a fork: a forked child works alone.
        pthread_atfork(nullptr, nullptr, mark_forked);
#endif
    }
    parallel = (Parallel)gomp_parallel;
}

struct Shift {
    const Job *job;
    const Kernel *kernel;
    int64_t bytes, tasks, next, failed;
    bool backward;
};

static void work_through(void *data) {
    Shift *shift = (Shift *)data;
    Memory *memory = take_memory(shift->bytes);
    if (!memory) {
        take_next(&shift->failed);
        return;
    }
    for (int64_t i; (i = take_next(&shift->next)) < shift->tasks;)
        (shift->backward ? shift->kernel->backward : shift->kernel->forward)(shift->job, i, memory->numbers);
    give_memory(memory);
}

#if defined(__APPLE__)
static void work_through_apple(void *data, size_t) { work_through(data); }
#endif

// 0 when done, 1 when there was not enough memory.
static int run(const Job *job, bool backward) {
    Shift shift = {job, chosen(), 0, 0, 0, 0, backward};
    shift.bytes = shift.kernel->scratch(job, backward) * (int64_t)sizeof(float);
    shift.tasks = job->batch * job->splits * (job->merged && !backward ? 1 : job->paths);
    int64_t threads = job->threads < shift.tasks ? job->threads : shift.tasks;
    if (threads > 1 && !forked && parallel) {
        parallel(work_through, &shift, (unsigned)threads, 0);
    } else if (threads > 1 && !forked) {
#if defined(__APPLE__)
        dispatch_apply_f((size_t)threads, DISPATCH_APPLY_AUTO, &shift, work_through_apple);
#elif defined(_OPENMP)
#pragma omp parallel num_threads((int)threads)
        work_through(&shift);
#endif
    }
    // Alone, or the rest when some thread had no memory.
    if (shift.next < shift.tasks) work_through(&shift);
    return shift.next < shift.tasks ? 1 : 0;
}

EXPORT int medmamba_forward(const Job *job) { return run(job, false); }
EXPORT int medmamba_backward(const Job *job) { return run(job, true); }

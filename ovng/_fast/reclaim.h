/* Atomics that Cython has no words for. The theory is in reclaim.pxd. */
#ifndef OVNG_RECLAIM_H
#define OVNG_RECLAIM_H

#include <stdint.h>

static inline void *pointer_load(void *const *at) {
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

static inline void pointer_publish(void **at, void *value) {
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
}

static inline int flag_load(const int *at) {
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

static inline void flag_store(int *at, int value) {
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
}

/* True for exactly one of all who ask. */
static inline int flag_claim(int *at) {
    return __atomic_load_n(at, __ATOMIC_RELAXED) == 0 && __atomic_exchange_n(at, 1, __ATOMIC_RELAXED) == 0;
}

static inline uint64_t counter_load(const uint64_t *at) {
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}

/* The sum after adding. */
static inline uint64_t counter_add(uint64_t *at, uint64_t amount) {
    return __atomic_add_fetch(at, amount, __ATOMIC_RELAXED);
}

/* Reader: between the two its counter is odd, and every pointer it loads stays valid. The fence orders the counter's
 * store before those loads; it pairs with the one in epoch_snapshot. */
static inline void epoch_enter(uint64_t *epoch) {
    __atomic_store_n(epoch, *epoch + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void epoch_leave(uint64_t *epoch) {
    __atomic_store_n(epoch, *epoch + 1, __ATOMIC_RELEASE);
}

/* Writer, after it unpublished something. */
static inline uint64_t epoch_snapshot(const uint64_t *epoch) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(epoch, __ATOMIC_ACQUIRE);
}

#endif

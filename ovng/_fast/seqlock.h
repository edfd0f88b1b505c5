/* Atomic access to memory that one thread writes and others read without locks (seqlock).
 *
 * A sequence number is odd while its writer is at work. Readers copy with relaxed loads of whole words, so that no
 * load is a data race, and keep the copy only when the number was even and the same before and after. The fences are
 * those of Boehm, "Can seqlocks get along with programming language memory models?" (MSPC 2012).
 */
#ifndef OVNG_SEQLOCK_H
#define OVNG_SEQLOCK_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint32_t __attribute__((may_alias)) ovng_word; /* a view of any 4-byte aligned struct */

static inline uint32_t atomic_get(const uint32_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static inline void atomic_put(uint32_t *at, uint32_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }

/* `size` is a multiple of 4, `shared` aligned to 4; the private end may lie anywhere. */
static inline void words_load(void *to, const void *shared, size_t size)
{
	for (size_t i = 0; i < size / 4; i++) {
		uint32_t word = __atomic_load_n((const ovng_word *)shared + i, __ATOMIC_RELAXED);
		memcpy((unsigned char *)to + 4 * i, &word, 4);
	}
}

static inline void words_store(void *shared, const void *from, size_t size)
{
	for (size_t i = 0; i < size / 4; i++) {
		uint32_t word;
		memcpy(&word, (const unsigned char *)from + 4 * i, 4);
		__atomic_store_n((ovng_word *)shared + i, word, __ATOMIC_RELAXED);
	}
}

static inline void seq_write_begin(uint32_t *seq)
{
	__atomic_store_n(seq, *seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void seq_write_end(uint32_t *seq) { __atomic_store_n(seq, *seq + 1, __ATOMIC_RELEASE); }

/* Waits for an even number. A writer that lost its CPU in the middle gets it back by the yield. */
static inline uint32_t seq_read_begin(const uint32_t *seq)
{
	for (unsigned spins = 1;; spins++) {
		uint32_t now = __atomic_load_n(seq, __ATOMIC_ACQUIRE);
		if (!(now & 1))
			return now;
		if (spins % 128 == 0)
			sched_yield();
	}
}

static inline int seq_read_changed(const uint32_t *seq, uint32_t begun)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(seq, __ATOMIC_RELAXED) != begun;
}

/* Credits: many threads take, the writer and readers give. Both keep within 0 ... limit. */
static inline int credit_take(int32_t *credit, int32_t amount)
{
	int32_t held = __atomic_load_n(credit, __ATOMIC_RELAXED);
	while (held >= amount)
		if (__atomic_compare_exchange_n(credit, &held, held - amount, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return 1;
	return 0;
}

static inline void credit_give(int32_t *credit, int32_t amount, int32_t limit)
{
	int32_t held = __atomic_load_n(credit, __ATOMIC_RELAXED);
	int32_t wanted;
	do
		wanted = held > limit - amount ? limit : held + amount;
	while (!__atomic_compare_exchange_n(credit, &held, wanted, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

static inline int32_t credit_get(const int32_t *credit) { return __atomic_load_n(credit, __ATOMIC_RELAXED); }
static inline void credit_set(int32_t *credit, int32_t amount) { __atomic_store_n(credit, amount, __ATOMIC_RELAXED); }

static inline void prefetch_line(const void *at) { __builtin_prefetch(at, 0, 3); }

#endif

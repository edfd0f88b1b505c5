/* Bounded single-producer, single-consumer byte ring. Its theory is in ring.pyx.
 *
 * Positions are free-running and wrap with size_t; the difference of two is always right, because the capacity is a
 * power of two. Records are {u32 length, u32 kind, payload}, padded to 8 bytes, so that a record's head is never split
 * over the end of the buffer. Its payload may be.
 *
 * A record that finds the ring empty begins at the start of the buffer again: so only as much memory is ever touched as
 * records wait at a time, not all of it sooner or later. That moves `base`, which the producer may do while there is
 * nothing that the consumer could be reading, and which the consumer reads after it has seen the new tail.
 */
#ifndef OVNG_RING_H
#define OVNG_RING_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RING_RECORD_HEAD 8
#define RING_CACHE_LINE 64

struct ring {
    unsigned char *data;
    size_t capacity;
    int event_fd;  /* the owner closes it */
    /* written by the producer only */
    size_t tail __attribute__((aligned(RING_CACHE_LINE)));
    size_t base;  /* the position that is at the start of the buffer */
    uint64_t dropped;
    /* written by the consumer only */
    size_t head __attribute__((aligned(RING_CACHE_LINE)));
};

/* NULL when there is no memory. `capacity` is rounded up to a power of two, at least 64. */
static inline struct ring *ring_create(size_t capacity, int event_fd) {
    size_t rounded = 64;
    while (rounded < capacity && rounded <= SIZE_MAX / 4)
        rounded *= 2;
    struct ring *ring = NULL;
    if (posix_memalign((void **)&ring, RING_CACHE_LINE, sizeof *ring) != 0)
        return NULL;
    memset(ring, 0, sizeof *ring);
    ring->data = malloc(rounded);
    if (ring->data == NULL) {
        free(ring);
        return NULL;
    }
    ring->capacity = rounded;
    ring->event_fd = event_fd;
    return ring;
}

static inline void ring_destroy(struct ring *ring) {
    if (ring != NULL) {
        free(ring->data);
        free(ring);
    }
}

static inline void ring_copy_in(struct ring *ring, size_t position, const void *source, size_t length) {
    size_t at = (position - ring->base) & (ring->capacity - 1);
    size_t first = length < ring->capacity - at ? length : ring->capacity - at;
    memcpy(ring->data + at, source, first);
    if (length > first)
        memcpy(ring->data, (const unsigned char *)source + first, length - first);
}

static inline void ring_copy_out(const struct ring *ring, size_t position, void *target, size_t length) {
    size_t at = (position - ring->base) & (ring->capacity - 1);
    size_t first = length < ring->capacity - at ? length : ring->capacity - at;
    memcpy(target, ring->data + at, first);
    if (length > first)
        memcpy((unsigned char *)target + first, ring->data, length - first);
}

static inline size_t ring_record_size(size_t length) {
    return RING_RECORD_HEAD + ((length + 7) & ~(size_t)7);
}

static inline void ring_signal(int event_fd) {
    uint64_t one = 1;
    if (event_fd >= 0 && write(event_fd, &one, sizeof one) < 0) {
        /* EAGAIN: the counter is at its maximum, so it is readable already */
    }
}

/* Producer: one record of two parts, either of which may be empty. 0, or -1 when it was full (counted). */
static inline int ring_put(struct ring *ring, uint32_t kind, const void *first, size_t first_length,
                           const void *second, size_t second_length) {
    size_t tail = ring->tail, length = first_length + second_length, size = ring_record_size(length);
    size_t seen = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
    if (size > ring->capacity - (tail - seen)) {
        ring->dropped++;
        return -1;
    }
    if (seen == tail)
        ring->base = tail;
    uint32_t head[2] = {(uint32_t)length, kind};
    ring_copy_in(ring, tail, head, sizeof head);
    if (first_length)
        ring_copy_in(ring, tail + RING_RECORD_HEAD, first, first_length);
    if (second_length)
        ring_copy_in(ring, tail + RING_RECORD_HEAD + first_length, second, second_length);
    __atomic_store_n(&ring->tail, tail + size, __ATOMIC_RELEASE);
    /* With the fence in ring_take: either the consumer sees this tail, or we see that it had emptied the ring. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&ring->head, __ATOMIC_RELAXED) == tail)
        ring_signal(ring->event_fd);
    return 0;
}

/* Consumer: length of the next record, or -1 when the ring is empty. */
static inline long ring_peek(const struct ring *ring, uint32_t *kind) {
    uint32_t head[2];
    if (__atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) == ring->head)
        return -1;
    ring_copy_out(ring, ring->head, head, sizeof head);
    *kind = head[1];
    return (long)head[0];
}

/* Consumer: as ring_peek, of the record at a position from head on and before tail; with its first bytes. The next one is
 * ring_record_size(length) further on. */
static inline long ring_look(const struct ring *ring, size_t position, uint32_t *kind, void *first, size_t size) {
    uint32_t head[2];
    ring_copy_out(ring, position, head, sizeof head);
    ring_copy_out(ring, position + RING_RECORD_HEAD, first, size < head[0] ? size : head[0]);
    *kind = head[1];
    return (long)head[0];
}

/* Consumer: a part of the payload of the record at a position, as ring_look has it; and in its place another. */
static inline void ring_read(const struct ring *ring, size_t position, size_t offset, void *target, size_t length) {
    ring_copy_out(ring, position + RING_RECORD_HEAD + offset, target, length);
}

static inline void ring_write(struct ring *ring, size_t position, size_t offset, const void *source, size_t length) {
    ring_copy_in(ring, position + RING_RECORD_HEAD + offset, source, length);
}

/* Consumer: copies the payload that ring_peek found and gives its room back. */
static inline void ring_take(struct ring *ring, void *target, size_t length) {
    ring_copy_out(ring, ring->head + RING_RECORD_HEAD, target, length);
    __atomic_store_n(&ring->head, ring->head + ring_record_size(length), __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Consumer: gives the room of the oldest record back, unread. There is one. */
static inline void ring_skip(struct ring *ring) {
    uint32_t ignored;
    long length = ring_peek(ring, &ignored);
    __atomic_store_n(&ring->head, ring->head + ring_record_size((size_t)length), __ATOMIC_RELEASE);
}

/* By one thread that is both sides: the oldest records make room. How many went, or -1 when it is too large. */
static inline long ring_put_newest(struct ring *ring, uint32_t kind, const void *first, size_t first_length,
                                   const void *second, size_t second_length) {
    size_t size = ring_record_size(first_length + second_length);
    long gone = 0;
    if (size > ring->capacity)
        return -1;
    for (; size > ring->capacity - (ring->tail - ring->head); gone++)
        ring_skip(ring);
    ring_put(ring, kind, first, first_length, second, second_length);
    return gone;
}

/* Consumer: call before draining, never after. */
static inline void ring_acknowledge(int event_fd) {
    uint64_t ignored;
    if (event_fd >= 0 && read(event_fd, &ignored, sizeof ignored) < 0) {
        /* EAGAIN: nothing was signalled */
    }
}

#endif

/* The Internet checksum's sum (RFC 1071). */
#ifndef OVNG_CHECKSUM_H
#define OVNG_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t ovng_two_words __attribute__((vector_size(16)));

/* `total` plus the 16-bit words of `data` in memory order, not yet folded. 64 KiB at a time cannot overflow.
 * Four sums side by side: one would wait for itself at every step. Compilers lower the vectors where there are none. */
static inline uint64_t checksum_add(const uint8_t *data, size_t length, uint64_t total) {
    const ovng_two_words low = {0xFFFFFFFF, 0xFFFFFFFF};
    ovng_two_words sums[4] = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
    ovng_two_words first, second;
    uint64_t word;
    for (; length >= 32; data += 32, length -= 32) {
        memcpy(&first, data, 16);
        memcpy(&second, data + 16, 16);
        sums[0] += first & low;
        sums[1] += first >> 32;
        sums[2] += second & low;
        sums[3] += second >> 32;
    }
    sums[0] += sums[1] + sums[2] + sums[3];
    total += sums[0][0] + sums[0][1];
    for (; length >= 8; data += 8, length -= 8) {
        memcpy(&word, data, 8);
        total += (uint32_t)word + (word >> 32);
    }
    if (length) {
        word = 0;
        memcpy(&word, data, length);
        total += (uint32_t)word + (word >> 32);
    }
    return total;
}

#endif

/* Does this CPU do AES in instructions? Where not, ChaCha20-Poly1305 is faster and runs in constant time. */
#ifndef OVNG_CPU_H
#define OVNG_CPU_H

#if defined(__aarch64__) || defined(__arm__)
#include <sys/auxv.h>
#endif

static inline int ovng_cpu_has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_cpu_init();
	return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
	return (getauxval(AT_HWCAP) >> 3 & 1) && (getauxval(AT_HWCAP) >> 4 & 1); /* HWCAP_AES, HWCAP_PMULL */
#elif defined(__arm__)
	return (getauxval(AT_HWCAP2) & 1) && (getauxval(AT_HWCAP2) >> 1 & 1); /* HWCAP2_AES, HWCAP2_PMULL */
#else
	return 0;
#endif
}

#endif

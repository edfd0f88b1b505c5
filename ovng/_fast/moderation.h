/* The scheduling policy of the calling thread. */
#ifndef OVNG_MODERATION_H
#define OVNG_MODERATION_H

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SCHED_BATCH
#define SCHED_BATCH 3
#endif

/* Whether it is the usual one: another was chosen by who started us. */
static inline int moderation_is_usual(void) {
    return syscall(SYS_sched_getscheduler, 0) == SCHED_OTHER;
}

/* 0, or -1. By hand: musl's sched_setscheduler refuses, as Linux means a thread where POSIX means a process. */
static inline int moderation_set(int gathers) {
    struct sched_param none = {.sched_priority = 0};
    return (int)syscall(SYS_sched_setscheduler, 0, gathers ? SCHED_BATCH : SCHED_OTHER, &none);
}

#endif

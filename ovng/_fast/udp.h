/* Socket addresses and control messages of UDP batches: what only C's macros can say. The rest is in udp.pyx. */
#ifndef OVNG_UDP_H
#define OVNG_UDP_H

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* An outer address as it stands on the wire (PROTOCOL 1): IPv6 or mapped IPv4, and a port in network order. */
struct locator {
    uint8_t address[16];
    uint8_t port[2];
};

/* Room for one UDP_GRO or UDP_SEGMENT and one packet information message, in either direction. */
#define UDP_CONTROL_SIZE 128
_Static_assert(UDP_CONTROL_SIZE >= CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo)), "control too small");
_Static_assert(sizeof(struct locator) == 18, "a locator has 18 bytes");

static const uint8_t udp_mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static inline int udp_is_mapped(const uint8_t *address) {
    return memcmp(address, udp_mapped_prefix, sizeof udp_mapped_prefix) == 0;
}

static inline void udp_locator_from_name(struct locator *locator, const struct sockaddr_in6 *name) {
    if (name->sin6_family == AF_INET6) {
        memcpy(locator->address, &name->sin6_addr, 16);
        memcpy(locator->port, &name->sin6_port, 2);
    } else if (name->sin6_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)name;
        memcpy(locator->address, udp_mapped_prefix, 12);
        memcpy(locator->address + 12, &v4->sin_addr, 4);
        memcpy(locator->port, &v4->sin_port, 2);
    } else {
        memset(locator, 0, sizeof *locator);
    }
}

/* The length of the name that a socket of `family` sends to, or 0 when it cannot reach that locator. */
static inline socklen_t udp_name_from_locator(struct sockaddr_in6 *name, const struct locator *locator, int family) {
    if (family == AF_INET6) {
        memset(name, 0, sizeof *name);
        name->sin6_family = AF_INET6;
        memcpy(&name->sin6_addr, locator->address, 16);
        memcpy(&name->sin6_port, locator->port, 2);
        return sizeof *name;
    }
    if (!udp_is_mapped(locator->address))
        return 0;
    struct sockaddr_in *v4 = (struct sockaddr_in *)name;
    memset(v4, 0, sizeof *v4);
    v4->sin_family = AF_INET;
    memcpy(&v4->sin_addr, locator->address + 12, 4);
    memcpy(&v4->sin_port, locator->port, 2);
    return sizeof *v4;
}

/* After a receive: GRO's segment size (0 = a single datagram) and the local address it came to (zeros = not told). */
static inline void udp_read_control(struct msghdr *header, uint32_t *segment, uint8_t *local) {
    *segment = 0;
    memset(local, 0, 16);
    for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control != NULL; control = CMSG_NXTHDR(header, control)) {
        if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(control), sizeof size);
            *segment = size > 0 ? (uint32_t)size : 0;
        } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(control), sizeof info);
            memcpy(local, &info.ipi6_addr, 16);
        } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(control), sizeof info);
            memcpy(local, udp_mapped_prefix, 12);
            memcpy(local + 12, &info.ipi_addr, 4);
        }
    }
}

/* Before a send: cut into datagrams of `segment` bytes (0 = leave whole), and leave from `local` (16 bytes, mapped for an
 * IPv4 socket; NULL = the kernel chooses). `space` has UDP_CONTROL_SIZE bytes. */
static inline void udp_write_control(struct msghdr *header, unsigned char *space, uint16_t segment,
                                     const uint8_t *local, int family) {
    size_t used = 0;
    struct cmsghdr *control = (struct cmsghdr *)space;
    if (segment != 0) {
        control->cmsg_level = SOL_UDP;
        control->cmsg_type = UDP_SEGMENT;
        control->cmsg_len = CMSG_LEN(sizeof segment);
        memcpy(CMSG_DATA(control), &segment, sizeof segment);
        used += CMSG_SPACE(sizeof segment);
        control = (struct cmsghdr *)(space + used);
    }
    if (local != NULL && family == AF_INET6) {
        struct in6_pktinfo info = {.ipi6_ifindex = 0};
        memcpy(&info.ipi6_addr, local, 16);
        control->cmsg_level = IPPROTO_IPV6;
        control->cmsg_type = IPV6_PKTINFO;
        control->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(control), &info, sizeof info);
        used += CMSG_SPACE(sizeof info);
    } else if (local != NULL) {
        struct in_pktinfo info = {.ipi_ifindex = 0};
        memcpy(&info.ipi_spec_dst, local + 12, 4);
        control->cmsg_level = IPPROTO_IP;
        control->cmsg_type = IP_PKTINFO;
        control->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(control), &info, sizeof info);
        used += CMSG_SPACE(sizeof info);
    }
    header->msg_control = used ? space : NULL;
    header->msg_controllen = used;
}

#endif

"""Inner packets for tests, and the slow twin of segmentation: plain Python after RFC 768, 791, 8200, 9293."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass, replace

TCP, UDP = 6, 17
FIN, SYN, RST, PSH, ACK, ECE, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x40, 0x80
GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, GSO_ECN = 0, 1, 4, 5, 0x80
NEEDS_CSUM = 1
NO_VNET = bytes(10)


def checksum(data: bytes) -> int:
    """RFC 1071, one word at a time."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + b"\0" * (len(data) % 2)):
        total += word
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class Packet:
    """One TCP or UDP packet, or (with more payload than fits) what a super-packet stands for."""

    payload: bytes
    version: int = 4
    protocol: int = TCP
    source: str = ""
    destination: str = ""
    ports: tuple[int, int] = (1000, 2000)
    sequence: int = 0
    acknowledgement: int = 7
    flags: int = ACK
    window: int = 512
    options: bytes = b""  # TCP, a multiple of 4
    identification: int = 0
    dont_fragment: bool = False
    class_: int = 0
    ttl: int = 64

    @property
    def transport_header(self) -> int:
        return 20 + len(self.options) if self.protocol == TCP else 8

    @property
    def ip_header(self) -> int:
        return 20 if self.version == 4 else 40

    @property
    def addresses(self) -> bytes:
        defaults = ("10.77.0.1", "10.77.0.2") if self.version == 4 else ("fd77::1", "fd77::2")
        chosen = (self.source or defaults[0], self.destination or defaults[1])
        return b"".join(ipaddress.ip_address(text).packed for text in chosen)

    def _pseudo(self) -> bytes:
        length = self.transport_header + len(self.payload)
        return self.addresses + struct.pack("!HH", self.protocol, length)

    def _transport(self, check: int) -> bytes:
        if self.protocol == UDP:
            return struct.pack("!HHHH", *self.ports, 8 + len(self.payload), check)
        offset = self.transport_header // 4 << 4
        fields = (*self.ports, self.sequence % 2**32, self.acknowledgement, offset, self.flags, self.window, check, 0)
        return struct.pack("!HHIIBBHHH", *fields) + self.options

    def _with_check(self, check: int) -> bytes:
        length = self.transport_header + len(self.payload)
        if self.version == 6:
            head = struct.pack("!IHBB", 6 << 28 | self.class_ << 20, length, self.protocol, self.ttl) + self.addresses
        else:
            fragment = 0x4000 if self.dont_fragment else 0
            fields = (0x45, self.class_, 20 + length, self.identification % 65536, fragment, self.ttl, self.protocol)
            head = struct.pack("!BBHHHBBH", *fields, 0) + self.addresses
            head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        return head + self._transport(check) + self.payload

    def build(self) -> bytes:
        """Complete, as it travels."""
        check = checksum(self._pseudo() + self._transport(0) + self.payload)
        return self._with_check(check or 0xFFFF)

    def partial(self) -> bytes:
        """As the kernel hands it over with NEEDS_CSUM: only the pseudo header's sum is in the field."""
        return self._with_check(~checksum(self._pseudo()) & 0xFFFF)

    def vnet(self, gso_size: int = 0, *, ecn: bool = False) -> bytes:
        """The virtio header that goes with `partial`; with `gso_size` it is a super-packet."""
        kind = GSO_NONE
        if gso_size:
            kind = GSO_UDP_L4 if self.protocol == UDP else GSO_TCPV4 if self.version == 4 else GSO_TCPV6
        header = self.ip_header + self.transport_header if gso_size else 0
        offset = 6 if self.protocol == UDP else 16
        return vnet_header(NEEDS_CSUM, kind | (GSO_ECN if ecn else 0), header, gso_size, self.ip_header, offset)


def vnet_header(flags: int, gso_type: int, hdr_len: int, gso_size: int, csum_start: int, csum_offset: int) -> bytes:
    """struct virtio_net_hdr in the machine's order."""
    return struct.pack("=BBHHHH", flags, gso_type, hdr_len, gso_size, csum_start, csum_offset)


def slow_segments(packet: Packet, size: int) -> list[Packet]:
    """What segmentation of `packet` into payloads of `size` bytes must give."""
    cut = [packet.payload[at : at + size] for at in range(0, len(packet.payload), size)]
    segments = []
    for index, payload in enumerate(cut):
        flags = packet.flags
        if index < len(cut) - 1:
            flags &= ~(FIN | PSH)
        if index:
            flags &= ~CWR
        segments.append(
            replace(
                packet,
                payload=payload,
                flags=flags,
                sequence=packet.sequence + index * size,
                identification=packet.identification + index,
            )
        )
    return segments


def icmp_echo(source: str, destination: str, size: int = 32) -> bytes:
    """An IPv4 packet that is neither TCP nor UDP."""
    body = bytes([8, 0, 0, 0, 0, 1, 0, 1]) + bytes(size)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, 1, 0)
    head += socket.inet_aton(source) + socket.inet_aton(destination)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def with_options(packet: bytes, options: bytes) -> bytes:
    """An IPv4 packet with IP options (a multiple of 4, at most 40 bytes)."""
    length = (len(packet) + len(options)).to_bytes(2, "big")
    head = bytes([0x45 + len(options) // 4]) + packet[1:2] + length + packet[4:10] + b"\0\0" + packet[12:20] + options
    return _summed(head) + packet[20:]


def with_extension(packet: bytes, kind: int) -> bytes:
    """An IPv6 packet with an extension header of 8 bytes: 0 hop-by-hop options, 43 routing, 60 destination options.

    A routing header sends it elsewhere first; checksums are those of the last destination (RFC 8200, 8.1).
    """
    extension = packet[6:7] + b"\0\1\4\0\0\0\0"  # PadN fills it; as a routing header it is of type 1 with 4 left
    length = (len(packet) - 40 + len(extension)).to_bytes(2, "big")
    destination = packet[24:39] + (b"\x99" if kind == 43 else packet[39:40])
    return packet[:4] + length + bytes([kind]) + packet[7:24] + destination + extension + packet[40:]


def as_fragment(packet: bytes) -> bytes:
    """An IPv4 packet (without options) as the first of more fragments."""
    return _summed(packet[:6] + b"\x20\0" + packet[8:10] + b"\0\0" + packet[12:20]) + packet[20:]


def _summed(head: bytes) -> bytes:
    """An IPv4 header whose checksum is still zero, with it."""
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:]

"""Just enough DER (ITU-T X.690) to read what `ssl` does not show: a certificate's key, serial and dates, and a CRL.

The reader is strict and flat: definite minimal lengths, one-byte tags, no recursion, every element ends inside its
parent. It proves nothing; whether a signature holds is for `ovng.pki.trust`, by OpenSSL. All functions take bytes
from outside and raise only `Malformed`.
"""

from __future__ import annotations

from typing import NamedTuple

from ovng.errors import Malformed
from ovng.fields import Frozen
from ovng.limits import CRL_MAX

_BOOLEAN, _INTEGER, _OCTETS, _OID = 0x01, 0x02, 0x04, 0x06
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_SEQUENCE = 0x30
_CONTEXT_0 = 0xA0

_MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAYS_TO_1970 = 719_162  # from the first day of the year 1, in the Gregorian calendar

_CRL_NUMBER = bytes.fromhex("551d14")  # 2.5.29.20
_SERIAL_MAX = 21  # RFC 5280, 4.1.2.2: 20 octets, and one for the sign
_CERTIFICATE_MAX = 1 << 16


class CertificateFacts(NamedTuple):
    """What a certificate says outside its names. Dates in seconds since 1970, UTC."""

    serial: int
    not_before: float
    not_after: float
    spki: bytes
    """DER SubjectPublicKeyInfo, as hashed into a node ID."""


class CrlFacts(Frozen):
    """What a revocation list says. Dates in seconds since 1970, UTC."""

    number: int
    """1 … 2^64−1; a higher number replaces a lower one."""
    this_update: float
    next_update: float | None
    serials: frozenset[int]


class _Element(NamedTuple):
    tag: int
    start: int  # of the value
    end: int
    first: int  # of the tag: the element whole is data[first:end]


class _Walk:
    """Walks the elements of one constructed value in order."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self._at, self._end = data, start, end

    @property
    def more(self) -> bool:
        return self._at < self._end

    def peek(self) -> int:
        """The next element's tag; 0 at the end."""
        return self._data[self._at] if self.more else 0

    def next(self, *tags: int) -> _Element:
        first, end = self._at, self._end
        if end - first < 2:
            raise Malformed("der_truncated")
        tag, length, start = self._data[first], self._data[first + 1], first + 2
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4 or end - start < size:
                raise Malformed("der_length")
            length = int.from_bytes(self._data[start : start + size], "big")
            if length < 0x80 or length >> (8 * (size - 1)) == 0:
                raise Malformed("der_length")
            start += size
        if length > end - start:
            raise Malformed("der_truncated")
        if tag not in tags:
            raise Malformed("der_unexpected")
        self._at = start + length
        return _Element(tag, start, start + length, first)

    def into(self, tag: int = _SEQUENCE) -> _Walk:
        element = self.next(tag)
        return _Walk(self._data, element.start, element.end)

    def value(self, tag: int) -> bytes:
        element = self.next(tag)
        return self._data[element.start : element.end]

    def skip(self, tag: int = _SEQUENCE) -> None:
        self.next(tag)

    def whole(self, tag: int = _SEQUENCE) -> bytes:
        element = self.next(tag)
        return self._data[element.first : element.end]

    def positive(self, size: int = _SERIAL_MAX) -> int:
        """An INTEGER of at most `size` octets; negative and zero are refused."""
        value = self.value(_INTEGER)
        if not 1 <= len(value) <= size or value[0] & 0x80:
            raise Malformed("der_integer")
        number = int.from_bytes(value, "big")
        if number == 0 or (len(value) > 1 and value[0] == 0 and not value[1] & 0x80):
            raise Malformed("der_integer")
        return number

    def time(self) -> float:
        element = self.next(_UTC_TIME, _GENERALIZED_TIME)
        text = self._data[element.start : element.end]
        if element.tag == _UTC_TIME:  # RFC 5280, 4.1.2.5.1: 50 … 99 are of the last century
            text = (b"19" if text[:2] >= b"50" else b"20") + text
        if len(text) != 15 or not text[:14].isdigit() or text[14:] != b"Z":
            raise Malformed("der_time")
        year, month, day = int(text[:4]), int(text[4:6]), int(text[6:8])
        hour, minute, second = int(text[8:10]), int(text[10:12]), int(text[12:14])
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        if not (year and 1 <= month <= 12 and 1 <= day <= _MONTHS[month - 1] + (leap and month == 2)):
            raise Malformed("der_time")
        if hour > 23 or minute > 59 or second > 59:
            raise Malformed("der_time")
        past = year - 1  # years that are over
        days = past * 365 + past // 4 - past // 100 + past // 400 - _DAYS_TO_1970
        days += sum(_MONTHS[: month - 1]) + (leap and month > 2) + day - 1
        return float(days * 86_400 + hour * 3600 + minute * 60 + second)

    def end(self) -> None:
        if self.more:
            raise Malformed("der_trailing")


def _signed(data: bytes, limit: int) -> _Walk:
    """The "to be signed" part of a certificate or CRL, after a look at the frame around it."""
    if len(data) > limit:
        raise Malformed("der_oversized")
    outer = _Walk(data, 0, len(data))
    frame = outer.into()
    outer.end()
    body = frame.into()
    frame.skip()  # signature algorithm
    frame.skip(0x03)  # signature
    frame.end()
    return body


def parse_certificate(data: bytes) -> CertificateFacts:
    """Read a DER certificate of at most 64 KiB (RFC 5280, 4.1). Raises Malformed."""
    body = _signed(data, _CERTIFICATE_MAX)
    if body.peek() == _CONTEXT_0:
        body.skip(_CONTEXT_0)  # version
    serial = body.positive()
    body.skip()  # signature algorithm
    body.skip()  # issuer
    validity = body.into()
    not_before, not_after = validity.time(), validity.time()
    validity.end()
    body.skip()  # subject
    return CertificateFacts(serial, not_before, not_after, body.whole())


def parse_crl(data: bytes) -> CrlFacts:
    """Read a DER revocation list of at most CRL_MAX bytes (RFC 5280, 5.1).

    Refused, since they would mean something else than "these serials are revoked": a list without a CRL number, delta
    and partial lists, any critical extension. Raises Malformed.
    """
    body = _signed(data, CRL_MAX)
    if body.peek() == _INTEGER:
        body.positive(1)  # version
    body.skip()  # signature algorithm
    body.skip()  # issuer
    this_update = body.time()
    next_update = body.time() if body.peek() in (_UTC_TIME, _GENERALIZED_TIME) else None
    serials = _revoked(body.into()) if body.peek() == _SEQUENCE else frozenset()
    number = _crl_number(body)
    body.end()
    return CrlFacts(number, this_update, next_update, serials)


def _revoked(entries: _Walk) -> frozenset[int]:
    serials = set()
    while entries.more:
        entry = entries.into()
        serials.add(entry.positive())
        entry.time()
        if entry.more:
            _extensions(entry.into())
        entry.end()
    return frozenset(serials)


def _crl_number(body: _Walk) -> int:
    if body.peek() != _CONTEXT_0:
        raise Malformed("crl_without_number")
    wrapper = body.into(_CONTEXT_0)
    extensions = _extensions(wrapper.into())
    wrapper.end()
    if _CRL_NUMBER not in extensions:
        raise Malformed("crl_without_number")
    value = extensions[_CRL_NUMBER]
    walk = _Walk(value, 0, len(value))
    number = walk.positive(9)
    walk.end()
    if number >> 64:
        raise Malformed("crl_number")
    return number


def _extensions(walk: _Walk) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    while walk.more:
        extension = walk.into()
        name = extension.value(_OID)
        if extension.peek() == _BOOLEAN and extension.value(_BOOLEAN) != b"\0":
            raise Malformed("crl_critical_extension")
        if name in found:
            raise Malformed("crl_extension_twice")
        found[name] = extension.value(_OCTETS)
        extension.end()
    return found

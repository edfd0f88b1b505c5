"""Protocol constants with their reasons. Tuning that is private to one file stays in that file.

Times are seconds, sizes bytes. Section numbers are those of `PROTOCOL.md`.
"""

from __future__ import annotations

PROTOCOL_VERSION = 1

# -- Datagrams (section 1)
HEADER_SIZE = 28
TAG_SIZE = 16  # AEAD tag, and every cut HMAC
MAX_DATAGRAM = 65_507  # UDP over IPv4
MAX_CONTROL_DATAGRAM = 1_232  # 1280 outer MTU - IPv6 40 - UDP 8
MAX_PROBE_DATAGRAM = 8_952  # 9000 (jumbo frames) - IPv6 40 - UDP 8
MIN_TUN_MTU = 1_280  # below this IPv6 goes away (RFC 8200, 5)
DEFAULT_TUN_MTU = 1_400  # 1500 - 40 - 8 - 28 - 16 = 1408, room for PPPoE

# -- Reliable stream (section 3)
STREAM_WINDOW = 12
STREAM_PIECE = 1_100
RTO_INITIAL = 0.3
RTO_MIN = 0.1
RTO_MAX = 2.0
RTO_JITTER = 0.2
ACK_DELAY = 0.02
EARLY_RESEND_ACKS = 3
ATTEMPT_DEADLINE = 60.0
ATTEMPT_STALL = 10.0  # an attempt with nothing acknowledged for so long yields in a simultaneous start
RECONNECT_BACKOFF_MIN = 1.0
RECONNECT_BACKOFF_MAX = 60.0
STREAM_BUFFER = 65_536  # unread handshake bytes held per attempt
INNER_MESSAGE_MAX = 65_000

# -- Cookies
COOKIE_SIZE = 16
COOKIE_ROTATION = 60.0

# -- What strangers may cost a responder
ATTEMPTS_PER_SOURCE = 10  # per second, burst 5, after the cookie
ATTEMPTS_TOTAL = 200  # per second
ATTEMPTS_PENDING = 64
ATTEMPTS_PER_SITE = 50  # per second, at the Switch: there a stranger may claim any ID
ATTEMPTS_PENDING_PER_SITE = 16
NO_SESSION_INTERVAL = 5.0
NO_SESSION_PER_SECOND = 20

# -- Keys (section 4): AES-GCM's confidentiality bound allows more; see RFC 9001, 6.6 and appendix B
REKEY_SECONDS = 3_600.0
REKEY_JITTER = 0.1
REKEY_PACKETS = 1 << 28
REKEY_BLOCKS = 1 << 34
HARD_PACKETS = 1 << 29
HARD_BLOCKS = 1 << 36
KEY_MAX_AGE_FACTOR = 3
OLD_KEY_RECEIVES = 60.0
GENERATION_MAX = (1 << 32) - 1  # as READY can say; then comes a new session
RECEIVE_GENERATIONS = 4  # that open packets of one peer side by side; rekeying faster than 20 s ends the oldest early
REPLAY_WINDOW = 8_192  # 9 ms of 1400-byte packets at 10 Gbit/s

# -- Attachment (sections 5 and 6)
GRANT_LIFETIME = 86_400
ATTACH_AGAIN_BEFORE = 3_600  # of a grant's end: the Switch says so to who has not done it by then
KEEPALIVE_DEFAULT = 25
KEEPALIVE_MIN, KEEPALIVE_MAX = 5, 600
KEEPALIVE_LEARNED = 120  # at most: what NATs should bear (RFC 4787, REQ-5); a path that dies unused is missed so late
LEASE_KEEPALIVES = 3
MAX_PATHS = 4
TICKET_MAX = 512
TICKET_MAX_PREFIXES = 16
TICKET_KEY_ROTATION = 86_400
PROVISIONAL_SECONDS = 3.0
PROVISIONAL_FACTOR = 3
PROVISIONAL_BYTES_PER_SECOND = 16_384
GRACE_CREDIT = 65_536
UNKNOWN_PLACE_BYTES = GRACE_CREDIT // 2  # of old data, before the Switch knows a node's place: new needs some
MOVES_PER_SECOND = 1
MOVES_PER_TEN_SECONDS = 4
HINTS_PER_PREFIX = 50
HINTS_TOTAL = 50_000
CHALLENGES_PER_PREFIX = 2_000  # to reports, each larger than its answer: after a restart a whole site asks at once
SNAPSHOT_INTERVAL = 10.0
SILENCE_REFRESH = 0.3
SILENCE_REFRESH_MAX = 2.0
TRAFFIC_RECENT = 10.0
TAIL_MILLISECONDS = 250  # how long what was sent to a node may be sent again after a move: outlives any round trip
TAIL_BYTES = 262_144  # of one node
TAIL_DATAGRAMS = 4_096
TAIL_TOTAL = 64 << 20  # of a Switch, over all nodes
PROBE_MIN = 0.06  # seconds: less would take a late answer for a lost one on a busy radio link
PROBE_LOST = 1.5  # round trips without an answer
PROBES_LOST_MAX = 3  # in a row: the path is dead

# -- Size of datagrams on a path (section 8, RFC 8899)
SIZE_BASE = MAX_CONTROL_DATAGRAM  # passes every path: BASE_PLPMTU
SIZE_STEP = 8  # a search ends when what fails is so little larger than what passes
SIZE_PARALLEL = 5  # sizes tried at once: two rounds find one of 212
SIZE_TRIES = 2  # of a size that is searched for
SIZE_CHECK_TRIES = 3  # of the size in use, before it counts as too large (RFC 8899, 5.1.2: MAX_PROBES)
SIZE_CHECK_SECONDS = 0.25  # while much is sent: so a narrowed path is noticed within a second
SIZE_CHECK_BYTES = 32_768  # in large packets between two checks: less is not much, and waits twice as long each time
SIZE_CHECK_SECONDS_MAX = 2.0
SIZE_RAISE_SECONDS = 600.0  # PMTU_RAISE_TIMER

# -- Resolution (section 7)
RESOLUTION_SECONDS = 300
NOT_YET_SECONDS = 5.0
NOBODY_SECONDS = 30  # how long "nobody" holds; who appears is told to those who asked
HOLDERS_MAX = 8  # node IDs in one answer
ROUTES_MAX = 65_535
PENDING_PACKETS = 32  # per destination without a session, newest kept
PENDING_BYTES = 1 << 20  # over all destinations

# -- Certificates
CERTIFICATE_DAYS = 365
CERTIFICATE_WARN_DAYS = 30
CRL_MAX = 1 << 20
CRL_PIECE = 1_024  # of a list, in one datagram

# -- The process
NICE = -15  # setpriority(2): ahead of programs that share the processors (`io/niceness`)

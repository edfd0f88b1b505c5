"""A running node: TUN and data path, sessions with other nodes, the attachment to the Switch, and the routes between.

Each sans-IO machine is told what happened; `_flush` then carries out what all of them decided, until none has anything
left: their events become calls on each other and on the data path, their datagrams go to the Switch.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
from collections import Counter

from ovng import limits
from ovng.clock import Now
from ovng.clock import now as read_clock
from ovng.config.profile import NodeProfile, load_profile, make_trust
from ovng.errors import ConfigError, Malformed, OvngError, Superseded
from ovng.forwarding import client as attachment
from ovng.forwarding.client import AttachmentClient
from ovng.ids import Locator, NodeID
from ovng.io import notify
from ovng.io.control import ControlServer, Message
from ovng.io.credentials import memfd_path
from ovng.io.datapath import NodeDataPath
from ovng.io.driver import Driver
from ovng.io.libcrypto import load_libcrypto, make_aead, preferred_ciphers
from ovng.node.announced import RoutePlan, plan_routes
from ovng.node.interface import NodeInterface
from ovng.node.overlay import Overlay
from ovng.node.policy import RoutePolicy
from ovng.node.uplink import SwitchAddresses
from ovng.session import events as session
from ovng.session.config import SessionConfig
from ovng.session.manager import SessionManager
from ovng.wire.header import PacketType, parse_header

log = logging.getLogger(__name__)

PATH = 0  # one path in this version


class NodeService:
    """One node from its profile. `run` serves until SIGTERM; raises OvngError when it cannot start or go on."""

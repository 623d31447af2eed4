"""A network namespace to try things in: nobody else sees it, and it goes with all that was made in it."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from ctypes import CDLL, get_errno
from typing import TypeVar

from .check import Unseen

_CLONE_NEWNET = 0x40000000
# linux/netlink.h, linux/genetlink.h
_NETLINK_GENERIC, _GENL_ID_CTRL, _GET_FAMILY, _FAMILY_NAME = 16, 0x10, 3, 2
_NLM_F_REQUEST, _NLMSG_ERROR = 1, 2
Answer = TypeVar("Answer")


def apart(work: Callable[[], Answer]) -> Answer:
    """Do ``work`` in a thread that has a new network namespace, and so have the programs that it starts.

    A namespace belongs to a thread in Linux, and this one goes when its last thread and program have ended.
    Raises Unseen for a user who may not make one.
    """
    result: list[Answer | BaseException] = []

    def run() -> None:
        try:
            _leave_network()
            result.append(work())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def _leave_network() -> None:
    if CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        raise Unseen(f"a network namespace to try things in cannot be made ({os.strerror(get_errno())})")


def has_generic_family(name: str) -> bool:
    """Whether the kernel has this generic netlink family; asking loads its module, as opening a socket does."""
    attribute = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(attribute), _FAMILY_NAME) + attribute + bytes(-len(attribute) % 4)
    body = struct.pack("=BBxx", _GET_FAMILY, 1) + attribute
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC
    ) as connection:
        connection.settimeout(1.0)
        connection.send(struct.pack("=IHHII", 16 + len(body), _GENL_ID_CTRL, _NLM_F_REQUEST, 1, 0) + body)
        kind: int = struct.unpack_from("=IHHII", connection.recv(65536))[1]
    return kind != _NLMSG_ERROR

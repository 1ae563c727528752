"""How redis-py connects to what a URI points at."""

from __future__ import annotations

from functools import partial
from typing import Any

import redis

from zaqar_core.uri import Uri
from zaqar_redis.connections import RedisConnection
from zaqar_redis.options import Address, Options, place_of
from zaqar_redis.topology import Cluster, OneServer, Sentinels, Topology


def topology(uri: Uri, options: Options) -> Topology:
    """The servers that a URI points at; nothing is connected yet. Raises ``InvalidUri``."""
    place = place_of(uri, options)
    tls = _tls(options) if place.tls else {}
    settings = {
        "username": uri.username,
        "password": uri.password,
        "protocol": options.protocol,
        "db": place.database,
        **tls,
    }
    kind = redis.SSLConnection if place.tls else redis.Connection
    make = partial(_make, kind, settings)
    if place.kind == "cluster":
        return Cluster(make, place.addresses, limit=options.max_connections)
    if place.kind == "sentinel":
        asking = {
            "username": options.sentinel_username or None,
            "password": options.sentinel_password or None,
            **tls,
        }
        ask = partial(_make, kind, asking)
        return Sentinels(make, ask, place.addresses, place.service, limit=options.max_connections)
    return OneServer(make, place.addresses[0], limit=options.max_connections)


def _make(kind: Any, settings: dict[str, Any], address: Address) -> RedisConnection:
    connection: RedisConnection
    if address.path:
        make: Any = redis.UnixDomainSocketConnection
        connection = make(path=address.path, **settings)
    else:
        connection = kind(host=address.host, port=address.port, **settings)
    return connection


def _tls(options: Options) -> dict[str, Any]:
    return {
        "ssl_ca_certs": options.tls_ca or None,
        "ssl_certfile": options.tls_cert or None,
        "ssl_keyfile": options.tls_key or None,
        "ssl_cert_reqs": "required" if options.tls_verify else "none",
        "ssl_check_hostname": options.tls_verify,
    }

"""How to connect to what a URI points at."""

from __future__ import annotations

import ssl
from functools import partial

from zaqar_core.uri import Uri
from zaqar_redis.options import Options, place_of
from zaqar_redis.topology import Cluster, OneServer, Sentinels, Topology
from zaqar_redis.units import layout_key
from zaqar_redis.wire import Login, connect


def topology(uri: Uri, options: Options) -> Topology:
    """The servers that a URI points at; nothing is connected yet. Raises ``InvalidUri``."""
    place = place_of(uri, options)
    tls = _tls(options) if place.tls else None
    login = Login(uri.username, uri.password, options.protocol, place.database)
    make = partial(connect, login=login, tls=tls)
    if place.kind == "cluster":
        return Cluster(make, place.addresses, limit=options.max_connections)
    if place.kind == "sentinel":
        asking = Login(options.sentinel_username, options.sentinel_password)
        ask = partial(connect, login=asking, tls=tls)
        probe = layout_key(options.prefix) + ":check"
        return Sentinels(make, ask, place.addresses, place.service, limit=options.max_connections, probe=probe)
    return OneServer(make, place.addresses[0], limit=options.max_connections)


def _tls(options: Options) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.tls_ca or None)
    if not options.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.tls_cert:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    return context

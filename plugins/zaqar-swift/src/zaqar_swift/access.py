"""Tokens and the storage URL, by the plugins of keystoneauth that every OpenStack client uses."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from keystoneauth1 import session as keystone
from keystoneauth1.identity import v3
from swiftclient.authv1 import PasswordPlugin

from zaqar_core import kit
from zaqar_core.errors import StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_swift.errors import no_cloud, not_authenticated
from zaqar_swift.forks import renew_in_child
from zaqar_swift.http import Limit, session
from zaqar_swift.options import Login, Options, ensure_certificates, login_of

_SERVICE = "object-store"


class Grant(NamedTuple):
    """Where the account is, and a token for it."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Grant({self.url!r})"


class Access:
    """Logs in when a token is needed, and again when one is refused."""

    def __init__(self, uri: Uri, options: Options) -> None:
        login = login_of(uri, options)
        self._grant: Grant | None = None
        self.where = uri.hosts or f"the cloud {options.cloud or 'of the environment'}"
        self.ca: str = options.tls_ca
        self.verify = options.tls_verify
        self._interface = options.interface
        self._region = options.region or None
        if login is not None:
            self._make_plugin: Callable[[], Any] = partial(_plugin, login, options)
        else:
            region = _cloud(options)
            self._make_plugin = region.get_auth
            self._region = self._region or region.get_region_name() or None
            self._interface = region.get_interface(_SERVICE) or self._interface
            verify, _ = region.get_requests_verify_args()
            self.verify = bool(verify) and self.verify
            if isinstance(verify, str) and not self.ca:
                if not Path(verify).is_dir():  # one of certificates does too
                    ensure_certificates(verify, "OS_CACERT, or cacert in clouds.yaml:")
                self.ca = verify
        renew_in_child(self)

    def renew(self) -> None:
        self._login = kit.Slots(1, f"the login at {self.where}")
        self._limit = Limit()
        self._session: Any = None
        self._plugin: Any = None

    def grant(self, deadline: float) -> Grant:
        """Raises ``StorageUnavailable``."""
        grant = self._grant
        if grant is not None:
            return grant
        turn = self._login.take(deadline)
        try:
            if self._grant is None:
                self._grant = self._log_in(deadline)
            return self._grant
        finally:
            turn.give_back()

    def refused(self, grant: Grant, deadline: float) -> None:
        """The token is not taken any more; the next one is new, unless another thread logs in for all of the time."""
        try:
            turn = self._login.take(deadline)
        except StorageUnavailable:
            return
        try:
            if self._grant is grant:  # of many that are refused at once, one logs in again
                self._grant = None
                self._plugin = None  # which remembers its token
        finally:
            turn.give_back()

    def _log_in(self, deadline: float) -> Grant:
        try:
            self._limit.moment = deadline
            if self._session is None:
                self._session = _Session(self._limit, verify=self.verify and (self.ca or True))
            if self._plugin is None:
                self._plugin = self._make_plugin()
            token = self._plugin.get_token(self._session)
            url = self._plugin.get_endpoint(
                self._session, service_type=_SERVICE, interface=self._interface, region_name=self._region
            )
        except Exception as error:
            raise not_authenticated(error, self.where) from error
        if not url or not token:
            missing = LookupError(f"no endpoint of {_SERVICE}, region {self._region}, interface {self._interface}")
            raise not_authenticated(missing, self.where) from missing
        return Grant(str(url).rstrip("/"), str(token))


class _Session(keystone.Session):
    """Logging in may take several requests, which end by one ``limit``."""

    def __init__(self, limit: Limit, **options: Any) -> None:
        self._limit = limit
        super().__init__(session=session(limit), **options)

    @property
    def timeout(self) -> float:
        return self._limit.left()

    @timeout.setter
    def timeout(self, _: float | None) -> None:
        """What keystoneauth sets is one request's."""


def _plugin(login: Login, options: Options) -> Any:
    if login.kind == "v1":
        return PasswordPlugin(login.url, login.user, login.secret, options.project or None)
    if login.kind == "application_credential":
        return v3.ApplicationCredential(login.url, login.secret, application_credential_id=login.user)
    return v3.Password(
        login.url,
        login.secret,
        username=login.user,
        user_domain_name=options.user_domain,
        project_name=options.project,
        project_domain_name=options.project_domain,
    )


def _cloud(options: Options) -> Any:
    """What ``clouds.yaml`` and the ``OS_`` variables say. Raises ``InvalidOption`` if no login can be made of it."""
    from openstack.config import OpenStackConfig  # which takes long, and most URIs do without

    try:
        with warnings.catch_warnings():  # openstacksdk warns of defaults of its own
            warnings.simplefilter("ignore")
            region = OpenStackConfig().get_one(cloud=options.cloud or None, region_name=options.region or None)
            region.get_auth()
            return region
    except Exception as error:  # of the files, or of any plugin that they may name
        raise no_cloud(error) from error

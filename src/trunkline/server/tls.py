"""TLS: `https` and `wss` from the same listener, with a certificate that can be renewed while we run."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from trunkline.errors import ConfigError

log = logging.getLogger("trunkline")

LOOK_S = 5.0  # between two looks at the files; certificates are renewed days before they end
# TLS 1.2 with forward secrecy and authenticated encryption only; TLS 1.3 has nothing else. ("Intermediate" of
# Mozilla's recommendations, without its CBC suites.)
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class Certificate:
    """A certificate and its key, as files that another program renews.

    Raises:
        ConfigError: They cannot be read, or do not belong together.
    """

    def __init__(self, cert: str, key: str, *, http2: bool = False) -> None:
        self._cert = cert
        self._key = key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_ciphers(CIPHERS)
        self.context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        self.context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
        self._seen = self._refused = self._stamps()
        try:
            self.context.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"tls_cert {cert} and tls_key {key} are no certificate and its key: {error}") from None

    async def renew_for_ever(self) -> None:
        """Look at the files now and then; new connections get what is new, living ones keep what they have."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self.renew():
                log.warning("the certificate in %s was renewed", self._cert)

    def renew(self) -> bool:
        """Take what is new, if it is whole; returns whether it was."""
        try:
            stamps = self._stamps()
        except ConfigError:
            return False  # it is just being replaced
        if stamps == self._seen:
            return False
        try:
            # First in a context of its own: half a pair must not get into the one that serves.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._cert, self._key)
            self.context.load_cert_chain(self._cert, self._key)
        except (OSError, ssl.SSLError) as error:
            if stamps != self._refused:  # the other of the two files may be on its way: look again, complain once
                self._refused = stamps
                log.warning("the new certificate in %s is not used: %s", self._cert, error)
            return False
        self._seen = stamps
        return True

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        try:
            stats = [Path(path).stat() for path in (self._cert, self._key)]
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from None
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)

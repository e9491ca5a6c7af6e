"""The endpoints of the HTTP API: each is a row of PROTOCOL.md, written against `transports/exchange.py`."""

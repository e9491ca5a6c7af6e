"""The pure core: no asyncio, no sockets, no clock, no randomness. Time and chance come in as arguments."""

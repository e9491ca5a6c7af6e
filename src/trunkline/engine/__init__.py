"""The engine: rooms, delivery and what is true now, on one event loop, without HTTP. Its parts are put together in
`engine.py`, and none of them reads a clock or rolls dice by itself: `clock.py` does."""

"""The log in Redis or Valkey: one server, Sentinel, or a cluster."""

from trunkline.stores.redis.store import RedisStore

__all__ = ["RedisStore"]

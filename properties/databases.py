"""Where runs share what they have found: a directory, or a Redis server that several machines reach."""

from __future__ import annotations

from typing import Any

from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase

__all__ = ["NoRedis", "database_of", "is_redis", "redis_of"]


class NoRedis(Exception):
    """There is no such server, or nothing to reach one with; the message is one line that says what to do."""


def is_redis(where: str) -> bool:
    """Whether it names a server, and no directory."""
    return where.startswith(("redis://", "rediss://"))


def redis_of(url: str) -> Any:
    """A client of the server, which answers; raises :class:`NoRedis`."""
    try:
        import redis
    except ImportError:
        raise NoRedis("the client of Redis is not installed: pip install 'dcp-stress[redis]'") from None
    try:
        client = redis.Redis.from_url(url)
        client.ping()
    except (redis.RedisError, ValueError) as error:
        raise NoRedis(f"no Redis server answers at {url}: {' '.join(str(error).split())}") from None
    return client


def database_of(where: str) -> ExampleDatabase:
    """The Hypothesis database there; raises :class:`NoRedis`."""
    if not is_redis(where):
        return DirectoryBasedExampleDatabase(where)
    client = redis_of(where)
    from hypothesis.extra.redis import RedisExampleDatabase

    return RedisExampleDatabase(client, key_prefix=b"dcp-stress:example:")

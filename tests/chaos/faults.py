"""What is done to the house. Each fault is done, held for a while and mended."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tests.chaos.house import DOWN_AFTER_MS, NODES, REDIS, SENTINELS, House
from tests.chaos.network import HERE
from tests.support import until

Fault = Callable[[House, random.Random], None]
FAULTS: dict[str, Fault] = {}
LONG_S = DOWN_AFTER_MS / 1000 + 1.5  # another Redis has taken over by then


def _fault(name: str) -> Callable[[Fault], Fault]:
    def add(fault: Fault) -> Fault:
        FAULTS[name] = fault
        return fault

    return add


def _taken_over(house: House, heir: str) -> None:
    until(lambda: house.client(heir).role()[0] == b"master", "the replica takes over", 60)


def _whole(house: House) -> None:
    until(house.whole, "master and replica are together again", 60)


@_fault("a node is killed")
def kill_node(house: House, rng: random.Random) -> None:
    node = house.nodes[rng.choice(NODES)]
    node.kill()
    time.sleep(rng.random())
    node.start()


@_fault("two nodes are killed")
def kill_nodes(house: House, rng: random.Random) -> None:
    victims = [house.nodes[name] for name in rng.sample(NODES, 2)]
    for node in victims:
        node.kill()
    for node in victims:
        node.start()


@_fault("a node is updated")
def update_node(house: House, rng: random.Random) -> None:
    node = house.nodes[rng.choice(NODES)]
    node.stop()
    node.start()


@_fault("a node stands still")
def pause_node(house: House, rng: random.Random) -> None:
    node = house.nodes[rng.choice(NODES)]
    node.pause()
    time.sleep(1 + 3 * rng.random())
    node.go_on()


@_fault("Redis is killed and restarted")
def restart_redis(house: House, _: random.Random) -> None:
    master = house.redis[house.master]
    master.kill()
    master.start()
    _whole(house)


@_fault("Redis stands still for a second")
def pause_redis(house: House, _: random.Random) -> None:
    master = house.redis[house.master]
    master.pause()
    time.sleep(1)
    master.go_on()


@_fault("Redis dies, its replica takes over")
def fail_over(house: House, _: random.Random) -> None:
    before, heir = house.master, house.replica
    house.redis[before].kill()
    house.network.mend()
    _taken_over(house, heir)
    house.redis[before].start()
    _whole(house)


@_fault("Redis dies, a replica takes over that lacks the end")
def fail_over_behind(house: House, rng: random.Random) -> None:
    house.network.cut(house.master, house.replica)
    time.sleep(1.5)
    fail_over(house, rng)


@_fault("Redis stands still, its replica takes over, it comes back")
def split(house: House, _: random.Random) -> None:
    before, heir = house.master, house.replica
    house.redis[before].pause()
    _taken_over(house, heir)
    house.redis[before].go_on()
    _whole(house)


@_fault("Redis is alone with one node, its replica takes over")
def split_with_node(house: House, rng: random.Random) -> None:
    before, heir = house.master, house.replica
    friend = rng.choice(NODES)
    house.network.cut(before, heir, *SENTINELS, *(node for node in NODES if node != friend))
    _taken_over(house, heir)
    time.sleep(1)
    house.network.mend()
    _whole(house)


@_fault("Redis loses all its clients")
def kill_clients(house: House, _: random.Random) -> None:
    client = house.client(house.master)
    for kind in ("normal", "pubsub"):
        client.client_kill_filter(_type=kind, skipme=True)


@_fault("Redis' memory is full")
def fill_memory(house: House, _: random.Random) -> None:
    client = house.client(house.master)
    client.config_set("maxmemory", "1")
    time.sleep(2)
    client.config_set("maxmemory", "0")


@_fault("the link between a node and Redis is cut")
def cut_redis(house: House, rng: random.Random) -> None:
    house.network.cut(rng.choice(NODES), *REDIS)
    time.sleep(LONG_S)
    house.network.mend()


@_fault("the link between a node and Redis is cut for long")
def cut_redis_for_long(house: House, rng: random.Random) -> None:
    house.network.cut(rng.choice(NODES), *REDIS)
    time.sleep(15)  # it is not ready then, and its clients are elsewhere
    house.network.mend()


@_fault("the link between a node and its clients is cut")
def cut_clients(house: House, rng: random.Random) -> None:
    house.network.cut(rng.choice(NODES), HERE)
    time.sleep(LONG_S)
    house.network.mend()


@_fault("all links to Redis are slow")
def slow_redis(house: House, _: random.Random) -> None:
    for name in REDIS:
        house.network.delay(name, *NODES, *REDIS, seconds=0.1)
    time.sleep(LONG_S)
    house.network.mend()


@_fault("all links to clients are slow")
def slow_clients(house: House, _: random.Random) -> None:
    house.network.delay(HERE, *NODES, seconds=0.2)
    time.sleep(LONG_S)
    house.network.mend()

"""A shop with a session of its own: the status of an order after its commit, a chat for each order, an unread badge.

    trunkline run examples.shop.app:app              (from the top of the repository)

Open http://localhost:8000 in two windows, as `ada` and as the clerk `carla`; each name is its own password. What is
Trunkline's is marked `# rooms`.
"""

import hashlib
import hmac
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import FileResponse
from sqlalchemy import Engine, ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from starlette.middleware.sessions import SessionMiddleware

from trunkline import Grant, Hub, Permissions  # rooms
from trunkline.fastapi import Rooms  # rooms
from trunkline.outbox.sqlalchemy import Outbox  # rooms

FOLDER = Path(os.environ.get("SHOP_FOLDER", "."))


# What every shop has.


class Base(DeclarativeBase):
    """The tables."""


class User(Base):
    """Who may sign in."""

    __tablename__ = "users"
    name: Mapped[str] = mapped_column(primary_key=True)
    password: Mapped[bytes]
    is_clerk: Mapped[bool]


class Order(Base):
    """What somebody has bought."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str] = mapped_column(ForeignKey("users.name"))
    item: Mapped[str]
    status: Mapped[str]

    def shown(self) -> dict[str, Any]:
        return {"id": self.id, "customer": self.customer, "item": self.item, "status": self.status}


def scrambled(name: str, password: str) -> bytes:
    return hashlib.scrypt(password.encode(), salt=name.encode(), n=2**12, r=8, p=1)


def make_engine() -> Engine:
    return create_engine(f"sqlite:///{FOLDER}/shop.db")


engine = make_engine()
outbox = Outbox(Base.metadata)  # rooms
Base.metadata.create_all(engine)
with Session(engine) as first:
    for name in ("ada", "bob", "carla"):
        if first.get(User, name) is None:
            first.add(User(name=name, password=scrambled(name, name), is_clerk=name == "carla"))
    first.commit()


def database() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


Database = Annotated[Session, Depends(database)]


def signed_in(request: Request, db: Database) -> User:
    user = db.get(User, request.session.get("user", ""))
    if user is None:
        raise HTTPException(401, "sign in first")
    return user


def clerk(user: Annotated[User, Depends(signed_in)]) -> User:
    if not user.is_clerk:
        raise HTTPException(403, "clerks do that")
    return user


SignedIn = Annotated[User, Depends(signed_in)]

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key=os.environ.get("SHOP_SECRET", "for this machine alone"))


# What this one has with its rooms: `orders:CUSTOMER` and `desk` hear of orders, in `chat:CUSTOMER:ORDER` people talk.

hub = Hub(f"sqlite:///{FOLDER}/rooms.db?shared=1", pages=False)  # rooms
rooms = Rooms(app, hub, relay=outbox.relay(engine, hub.publish_sync))  # rooms


@rooms.authenticate  # rooms
def who(user: SignedIn) -> Grant:
    chats = "chat:*" if user.is_clerk else f"chat:{user.name}:*"
    orders = "desk" if user.is_clerk else f"orders:{user.name}"
    return Grant(user=user.name, permissions=Permissions(read=(orders, chats), write=(chats,)))  # rooms


def tell(db: Session, order: Order) -> None:
    """Let everyone whom it concerns hear of an order, if the present transaction is committed."""
    for room in (f"orders:{order.customer}", "desk"):
        outbox.publish_later(db, room, order.shown())  # rooms


@app.post("/sign-out")
async def sign_out(request: Request, user: SignedIn) -> None:
    request.session.clear()
    await hub.disconnect(user.name)  # rooms


@app.post("/orders")
def buy(item: Annotated[str, Form(min_length=1, max_length=80)], db: Database, user: SignedIn) -> dict[str, Any]:
    order = Order(customer=user.name, item=item, status="ordered")
    db.add(order)
    db.flush()
    tell(db, order)
    db.commit()
    return order.shown()


@app.post("/orders/{number}/status", dependencies=[Depends(clerk)])
def change(number: int, status: Literal["packed", "shipped", "cancelled"], db: Database) -> dict[str, Any]:
    order = db.get(Order, number)
    if order is None:
        raise HTTPException(404, "there is no such order")
    if order.status in ("shipped", "cancelled"):
        raise HTTPException(409, f"it is {order.status}")
    order.status = status
    tell(db, order)
    db.commit()
    return order.shown()


# The rest of every shop.


@app.post("/sign-in")
def sign_in(
    name: Annotated[str, Form()], password: Annotated[str, Form()], request: Request, db: Database
) -> dict[str, Any]:
    user = db.get(User, name)
    if user is None or not hmac.compare_digest(user.password, scrambled(name, password)):
        raise HTTPException(401, "no such name, or another password")
    request.session["user"] = user.name
    return {"name": user.name, "is_clerk": user.is_clerk}


@app.get("/me")
def me(user: SignedIn) -> dict[str, Any]:
    return {"name": user.name, "is_clerk": user.is_clerk}


@app.get("/orders")
def orders(db: Database, user: SignedIn) -> list[dict[str, Any]]:
    wanted = select(Order).order_by(Order.id.desc()).limit(50)
    if not user.is_clerk:
        wanted = wanted.where(Order.customer == user.name)
    return [order.shown() for order in db.scalars(wanted)]


@app.get("/")
def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))

"""Noughts and crosses for any number of tables: moves are calls, the board is a room, pointers are signals.

    trunkline run examples.game.app:app              (from the top of the repository)

Open http://localhost:8000/?table=1 in two windows. The server alone knows the rules: a move is a call, which it carries
out at most once, and answers; what it has become is published, so that players and spectators see the same board.
"""

import asyncio
from pathlib import Path
from typing import Any, Literal

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

from trunkline import Call, Hub, Refused

LINES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]

hub = Hub("memory:", pages=False)


class Board(msgspec.Struct):
    """A table: nine cells, who plays what, whose turn it is, and who has won."""

    cells: list[str] = msgspec.field(default_factory=lambda: [""] * 9)
    players: dict[str, str] = {}
    turn: Literal["X", "O"] = "X"
    winner: str = ""


class Move(msgspec.Struct):
    """What a client sends."""

    table: str
    cell: int


class Table(msgspec.Struct):
    """What a client sends to sit down, or to begin again."""

    table: str


boards: dict[str, Board] = {}
turns = asyncio.Lock()  # calls run side by side; a board changes in one of them at a time


async def changed(table: str, board: Board) -> dict[str, Any]:
    shown = msgspec.to_builtins(board)
    await hub.publish(f"game:{table}", shown)
    return dict(shown)


@hub.call("sit")
async def sit(call: Call, at: Table) -> dict[str, str]:
    """Take a seat, or watch if both are taken. Who has one already keeps it."""
    async with turns:
        board = boards.setdefault(at.table, Board())
        if call.member not in board.players and len(board.players) < 2:
            board.players[call.member] = "O" if "X" in board.players.values() else "X"
            await changed(at.table, board)
        return {"plays": board.players.get(call.member, "")}


@hub.call("move")
async def move(call: Call, move: Move) -> dict[str, Any]:
    """Put a mark into a cell, if the rules permit it."""
    async with turns:
        board = boards.get(move.table)
        if board is None or call.member not in board.players:
            raise Refused("spectator", "take a seat first", status=403)
        if board.winner or not 0 <= move.cell <= 8 or board.cells[move.cell]:
            raise Refused("illegal", "that cell cannot be taken", status=409)
        if board.players[call.member] != board.turn:
            raise Refused("not_your_turn", "it is the other one's turn", status=409)
        board.cells[move.cell] = board.turn
        if any(all(board.cells[cell] == board.turn for cell in line) for line in LINES):
            board.winner = board.turn
        elif all(board.cells):
            board.winner = "nobody"
        board.turn = "O" if board.turn == "X" else "X"
        return await changed(move.table, board)


@hub.call("again")
async def again(call: Call, at: Table) -> dict[str, Any]:
    """Clear a board that is done."""
    async with turns:
        board = boards.get(at.table)
        if board is None or call.member not in board.players or not board.winner:
            raise Refused("not_over", "this game is not over", status=409)
        board.cells, board.turn, board.winner = [""] * 9, "X", ""
        return await changed(at.table, board)


async def page(_: Request) -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


app = Starlette(routes=[Route("/", page), Mount("/", hub.app)], lifespan=hub.lifespan)

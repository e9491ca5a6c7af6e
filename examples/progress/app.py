"""The progress of background jobs in Flask: a thread publishes, the page shows it, also after a reload.

    flask --app examples.progress.app trunkline serve        (from the top of the repository)
    flask --app examples.progress.app run                    (in a second shell)

Open http://localhost:5000. What is Trunkline's is marked `# rooms`.
"""

import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

from flask import Flask, Response, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from trunkline import Grant, Permissions  # rooms
from trunkline.client import ClientError  # rooms
from trunkline.flask import Rooms  # rooms

STEPS = 20
STEP_S = float(os.environ.get("STEP_S", "0.25"))

app = Flask(__name__)
app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY", "for this machine alone, and nobody else")
app.config.from_prefixed_env("PROGRESS")  # PROGRESS_TRUNKLINE_URL, …
rooms = Rooms(app)  # rooms
workers = ThreadPoolExecutor(4)


@rooms.user  # rooms
def user() -> Grant | None:
    name = session.get("name")
    return None if name is None else Grant(user=name, permissions=Permissions(read=(f"jobs:{name}",)))  # rooms


def work(name: str, job: str, title: str) -> None:
    """Do something that takes long, and say how far it is."""
    for done in range(STEPS + 1):
        try:
            rooms.publish(f"jobs:{name}", {"job": job, "title": title, "done": done, "of": STEPS})  # rooms
        except ClientError as error:  # the server is away: the job goes on
            app.logger.warning("nobody hears of step %d of %s: %s", done, title, error)
        time.sleep(STEP_S)


@app.post("/jobs")
def begin() -> tuple[dict[str, str], int]:
    job = secrets.token_hex(8)
    workers.submit(work, session["name"], job, request.form["title"][:80])
    return {"job": job}, 202


@app.post("/sign-in")
def sign_in() -> AnyResponse:
    session["name"] = "".join(letter for letter in request.form["name"] if letter.isalnum())[:20] or "nobody"
    return redirect(url_for("index"))


@app.post("/sign-out")
def sign_out() -> AnyResponse:
    session.clear()
    return redirect(url_for("index"))


@app.get("/")
def index() -> Response:
    return Response(render_template("index.html", name=session.get("name")))

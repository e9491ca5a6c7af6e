"""Rooms for clients of Socket.IO in an application: `hub.socketio()`."""

import os

from trunkline import Hub

hub = Hub(os.environ["STORE"])
hub.socketio()
app = hub.app

"""The counter as a Flask site with Flask-Session on cachelib's files."""

from cachelib.file import FileSystemCache
from flask import Flask, session
from flask_session import Session

PREFIX = "session:"


def application(place, threshold):
    """Return the WSGI application; cachelib lets *threshold* sessions live, 0 for all."""
    app = Flask(__name__)
    app.config.update(
        SESSION_TYPE="cachelib",
        SESSION_CACHELIB=FileSystemCache(place, threshold=threshold),
        SESSION_KEY_PREFIX=PREFIX,
        PERMANENT_SESSION_LIFETIME=1800,
    )
    Session(app)

    @app.get("/")
    def count():
        session["hits"] = session.get("hits", 0) + 1
        return str(session["hits"]), {"Content-Type": "text/plain"}

    @app.get("/hello")
    def hello():
        return "Hello, world", {"Content-Type": "text/plain"}

    return app

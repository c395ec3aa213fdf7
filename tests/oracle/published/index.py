"""The page of the directory itself."""


def index(req):
    """Say where this is."""
    return "root"


def other(req):
    """Say where this is."""
    return "other of root"

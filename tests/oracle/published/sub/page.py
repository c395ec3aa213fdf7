"""A page of the same name as another."""


def index(req):
    """Say where this is."""
    return "page of sub"

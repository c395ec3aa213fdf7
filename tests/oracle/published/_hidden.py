"""A page whose name begins with an underscore."""


def index(req):
    """Say where this is."""
    return "hidden"

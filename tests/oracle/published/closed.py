"""A page that asks for a password."""

__auth_realm__ = "closed"


def __auth__(req, user, password):
    return (user, password) == ("ann", "sesame")


def __access__(req, user):
    return user == "ann"


def index(req):
    """Say where this is."""
    return "inside"

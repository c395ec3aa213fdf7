"""Basic authentication (RFC 7617) as handlers see it: AuthType, AuthName, names and passwords.

The environment of a request does not tell Apache's AuthType and AuthName, so the options
``mod_python.auth_type`` and ``mod_python.auth_name`` do.
"""

from base64 import b64decode

from .variables import text

_OPTION = "PythonOption.mod_python."


def auth_type(environ: dict) -> str | None:
    """Return the AuthType in force, or how Apache has authenticated the user; None for none."""
    return environ.get(f"{_OPTION}auth_type") or environ.get("AUTH_TYPE")


def auth_name(environ: dict) -> str | None:
    """Return the AuthName in force, None for none."""
    name = environ.get(f"{_OPTION}auth_name")
    return text(name) if name else None


def is_basic(environ: dict) -> bool:
    """Return whether Basic authentication is in force."""
    return (auth_type(environ) or "").lower() == "basic"


def credentials(environ: dict) -> tuple[str, str] | None:
    """Return the name and password that the client has sent, None if it has sent none."""
    scheme, _, encoded = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = b64decode(encoded.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return text(user.decode("latin-1")), text(password.decode("latin-1"))


def challenge(environ: dict) -> str:
    """Return the value of WWW-Authenticate that makes browsers ask for a name and password."""
    quoted = environ.get(f"{_OPTION}auth_name", "").replace("\\", r"\\").replace('"', r"\"")
    return f'Basic realm="{quoted}"'

"""The constants of the module apache."""

import json

from mod_python import apache


def all_of_them(req):
    """Write all constants, in JSON."""
    found = {
        name: value
        for name, value in vars(apache).items()
        if name.isupper() and isinstance(value, (int, str))
    }
    req.content_type = "application/json"
    req.write(json.dumps(found, sort_keys=True))
    return apache.OK

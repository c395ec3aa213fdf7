"""All members of all kinds, and what Chromium shows of each."""

import functools
import json
import pathlib

from tests.pictures import avif, gif, jpeg, png, webp

RECORDED = pathlib.Path(__file__).with_name("recorded.json")
#: Name -> what makes the file.
MEMBERS = {
    **png.members(),
    **jpeg.members(),
    **gif.members(),
    **webp.members(),
    **avif.members(),
}


@functools.cache
def recorded():
    """Return what Chromium shows: name -> (width, height, grid), None if it shows nothing."""
    found = {}
    for name, told in json.loads(RECORDED.read_text()).items():
        if isinstance(told, str):
            found[name] = found[told]
        else:
            found[name] = told and (told[0], told[1], _cells(bytes.fromhex(told[2])))
    return found


def record(shown):
    """Record *shown*, in the form of :func:`recorded`, a line for each member."""
    lines, first = [], {}
    for name, told in shown.items():
        if told is not None:
            told = (*told[:2], bytes(value for cell in told[2] for value in cell).hex())
        # many look alike
        same = first.setdefault(told, name)
        lines.append(f"{json.dumps(name)}: {json.dumps(told if same == name else same)}")
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _cells(values):
    return [list(values[at : at + 4]) for at in range(0, len(values), 4)]

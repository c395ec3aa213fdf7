"""Questions about apache.table."""

import urllib.parse

from mod_python import apache

from .answers import write_answer


def _after(change, *pairs):
    table = _table(*pairs)
    result = change(table)
    return result, table.items()


def _table(*pairs):
    table = apache.table()
    for key, value in pairs:
        table.add(key, value)
    return table


def _changed_while_iterated():
    table = apache.table({"a": "1"})
    for _ in table:
        table["b"] = "2"


_A_B_A = (("A", "1"), ("b", "2"), ("a", "3"))

QUESTIONS = {
    "empty": lambda: (len(apache.table()), bool(apache.table()), repr(apache.table())),
    "of a dict": lambda: apache.table({"A": "1"}).items(),
    "of pairs": lambda: apache.table([("A", "1"), ("b", "2")]).items(),
    "of triples": lambda: apache.table([("A", "1", "2")]),
    "of numbers": lambda: apache.table([1]),
    "of an int": lambda: apache.table(5),
    "repr": lambda: repr(_table(*_A_B_A)),
    "get item": lambda: _table(*_A_B_A)["B"],
    "get repeated item": lambda: _table(*_A_B_A)["A"],
    "get missing item": lambda: _table(*_A_B_A)["c"],
    "get item by int": lambda: _table(*_A_B_A)[1],
    "get": lambda: (_table(*_A_B_A).get("a"), _table().get("x"), _table().get("x", 5)),
    "set item": lambda: _after(lambda table: table.__setitem__("a", "9"), *_A_B_A),
    "set new item": lambda: _after(lambda table: table.__setitem__("C", "9"), *_A_B_A),
    "set int": lambda: _after(lambda table: table.__setitem__("a", 9)),
    "set None": lambda: _after(lambda table: table.__setitem__("a", None)),
    "set int key": lambda: _after(lambda table: table.__setitem__(1, "9")),
    "set euro": lambda: _after(lambda table: table.__setitem__("a", "€")),
    "add": lambda: _after(lambda table: table.add("A", "4"), *_A_B_A),
    "add int": lambda: _after(lambda table: table.add("A", 4)),
    "delete": lambda: _after(lambda table: table.__delitem__("A"), *_A_B_A),
    "delete missing": lambda: _after(lambda table: table.__delitem__("z"), *_A_B_A),
    "in": lambda: ("a" in _table(*_A_B_A), "z" in _table(*_A_B_A)),
    "int in": lambda: 1 in _table(*_A_B_A),
    "has_key": lambda: (_table(*_A_B_A).has_key("B"), _table().has_key("B")),
    "len": lambda: len(_table(*_A_B_A)),
    "iter": lambda: list(_table(*_A_B_A)),
    "keys": lambda: _table(*_A_B_A).keys(),
    "values": lambda: _table(*_A_B_A).values(),
    "items": lambda: _table(*_A_B_A).items(),
    "iterkeys": lambda: list(_table(*_A_B_A).iterkeys()),
    "itervalues": lambda: list(_table(*_A_B_A).itervalues()),
    "iteritems": lambda: list(_table(*_A_B_A).iteritems()),
    "setdefault": lambda: _after(lambda table: table.setdefault("a", "9"), *_A_B_A),
    "setdefault of a new key": lambda: _after(lambda table: table.setdefault("z", "9")),
    "setdefault to nothing": lambda: _after(lambda table: table.setdefault("z")),
    "popitem": lambda: _after(lambda table: table.popitem(), ("a", "1"), ("b", "2")),
    "popitem of repeated": lambda: _after(lambda table: table.popitem(), *_A_B_A),
    "popitem of none": lambda: _table().popitem(),
    "pop": lambda: _table(*_A_B_A).pop("a"),
    "update by a dict": lambda: _after(lambda table: table.update({"B": "5", "c": "6"}), *_A_B_A),
    "update by pairs": lambda: _after(lambda table: table.update([("B", "5")]), *_A_B_A),
    "update by a word": lambda: _after(lambda table: table.update(b="5")),
    "clear": lambda: _after(lambda table: table.clear(), *_A_B_A),
    "copy": lambda: _table(*_A_B_A).copy().items(),
    "copy is another": lambda: _after(lambda table: table.copy().clear(), *_A_B_A),
    "equal": lambda: (
        apache.table({"a": "1"}) == apache.table({"a": "1"}),
        apache.table({"a": "1"}) == {"a": "1"},
        apache.table({"a": "1"}) == {"a": "2"},
        apache.table({"a": "1"}) != {"a": "1"},
    ),
    "less": lambda: apache.table() < apache.table(),
    "hash": lambda: hash(apache.table()),
    "change while iterated": _changed_while_iterated,
    "subclass": lambda: type("Mine", (apache.table,), {})({"a": "1"})["A"],
    "fromkeys": lambda: apache.table.fromkeys(["a"]),
    # known differences
    "set with a line break": lambda: _after(lambda table: table.__setitem__("a", "1\r\nb: 2")),
    "of a table with repeated keys": lambda: apache.table(_table(*_A_B_A)).items(),
}


def ask(req):
    """Answer the question that the query names."""
    return write_answer(req, QUESTIONS[urllib.parse.unquote(req.args)])

import pytest

from handlers.runtime.table import Table


def repeated():
    table = Table()
    table["Accept"] = "1"
    table["Other"] = "x"
    table.add("ACCEPT", "2")
    return table


def test_keys_compare_without_case():
    table = Table({"Content-Type": "text/plain"})
    assert table["content-TYPE"] == "text/plain"
    assert "CONTENT-type" in table
    assert table.has_key("content-type") == 1


def test_repeated_key_gives_list_but_get_gives_first():
    assert repeated()["accept"] == ["1", "2"]
    assert repeated().get("accept") == "1"


def test_every_row_is_counted_and_iterated():
    table = repeated()
    assert len(table) == 3
    assert list(table) == table.keys() == ["Accept", "Other", "ACCEPT"]
    assert table.items() == [("Accept", "1"), ("Other", "x"), ("ACCEPT", "2")]
    assert list(table.iteritems()) == table.items()
    assert list(table.itervalues()) == table.values() == ["1", "x", "2"]


def test_assignment_replaces_all_rows_at_the_place_of_the_first():
    table = repeated()
    table["ACCEPT"] = "3"
    assert table.items() == [("Accept", "3"), ("Other", "x")]


def test_deletion_removes_all_rows_of_a_key():
    table = repeated()
    del table["accept"]
    assert table.items() == [("Other", "x")]
    del table["accept"]
    assert table.items() == [("Other", "x")]


def test_popitem_takes_the_first_row_and_its_likes():
    table = repeated()
    assert table.popitem() == ("Accept", "1")
    assert table.items() == [("Other", "x")]
    table.clear()
    with pytest.raises(KeyError):
        table.popitem()


def test_setdefault_defaults_to_the_empty_string():
    table = Table()
    assert table.setdefault("a") == ""
    assert table.setdefault("b", "1") == "1"
    assert table.setdefault("B", "2") == "1"


def test_missing_key_raises_and_get_gives_the_default():
    with pytest.raises(KeyError, match="x"):
        Table()["x"]
    assert Table().get("x") is None
    assert Table().get("x", 5) == 5


@pytest.mark.parametrize("value", [5, None, "€", ["a"], 1.5])
def test_value_that_is_no_latin_1_text_is_a_type_error(value):
    with pytest.raises(TypeError):
        Table()["x"] = value
    with pytest.raises(TypeError):
        Table().add("x", value)
    with pytest.raises(TypeError):
        Table()[value] = "x"


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b=c", "a\n", "\0", "\ra", "é\n"])
def test_line_breaks_and_nul_are_refused(value):
    table = Table()
    for store in (table.__setitem__, table.add, table.setdefault):
        with pytest.raises(ValueError):
            store("x", value)
        with pytest.raises(ValueError):
            store(value, "x")
    with pytest.raises(ValueError):
        table.update({"x": value})
    with pytest.raises(ValueError):
        Table({"x": value})
    assert len(table) == 0


def test_bytes_are_taken_as_latin_1():
    table = Table()
    table["x"] = b"caf\xe9"
    table.add(b"x", b"2")
    assert table["x"] == ["café", "2"]


def test_update_and_copy_keep_repeated_keys():
    copied = repeated().copy()
    assert copied == repeated()
    target = Table({"accept": "0", "z": "9"})
    target.update(repeated())
    assert target.items() == [("z", "9"), *repeated().items()]
    assert Table(repeated()).items() == repeated().items()


def test_update_takes_a_mapping_only():
    with pytest.raises(AttributeError):
        Table().update([("a", "1")])


def test_sequence_of_pairs_is_a_source_and_others_are_refused():
    assert Table([("a", "1"), ("A", "2")]).items() == [("a", "2")]
    with pytest.raises(ValueError):
        Table([("a",)])
    with pytest.raises(TypeError):
        Table([5])
    with pytest.raises(TypeError):
        Table(5)


def test_comparison_is_with_dicts_and_tables():
    assert Table({"a": "1"}) == {"a": "1"}
    assert Table({"a": "1"}) != {"a": "2"}
    assert Table({"a": "1"}) != Table({"A": "1"})
    assert Table({"a": "1"}) != [("a", "1")]


def test_table_cannot_be_hashed():
    with pytest.raises(TypeError):
        hash(Table())


def test_change_during_iteration_is_noticed():
    table = Table({"a": "1"})
    walk = iter(table)
    table["b"] = "2"
    with pytest.raises(RuntimeError):
        list(walk)
    table = Table({"a": "1"})
    with pytest.raises(RuntimeError):
        for key in table:
            table[key + "b"] = "2"


def test_table_can_be_subclassed():
    class Own(Table):
        pass

    own = Own({"a": "1"})
    own.remark = "x"
    assert own["A"] == "1"


def test_repr_looks_like_a_dict():
    assert repr(Table({"a": "1", "b": "2"})) == "{'a': '1', 'b': '2'}"

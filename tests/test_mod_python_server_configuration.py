import pytest

from handlers.mod_python import apache
from handlers.runtime import server_configuration


@pytest.fixture
def httpd(tmp_path):
    """A function that reads a configuration of these files; the first one is httpd's."""

    def read(*options, **files):
        for name, text in files.items():
            path = tmp_path / f"{name}.conf"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        main = next(iter(files))
        return server_configuration.read(
            ["apache2", "-d", str(tmp_path), "-f", f"{main}.conf", *options]
        )

    return read


def test_tree_has_a_pair_for_each_directive_and_a_list_for_each_section(httpd):
    found = httpd(
        main="""
# a comment
ServerName a.test
<Directory "/srv">
    Require all \\
  granted
    <Files x>
        SetHandler none
    </Files>
</Directory>
"""
    )
    assert found.tree == [
        ("ServerName", "a.test"),
        ("<Directory", '"/srv">'),
        [
            ("Require", "all   granted"),
            ("<Files", "x>"),
            [("SetHandler", "none")],
        ],
    ]


def test_conditions_are_replaced_by_what_they_hold(httpd):
    text = """
Define MINE
Define PORT 8080
LoadModule python_module modules/mod_python.so
LoadModule mpm_prefork_module modules/mod_mpm_prefork.so
<IfDefine MINE>
    A 1
    <IfDefine !GIVEN>
        B 1
    </IfDefine>
</IfDefine>
<IfModule mod_python.c>
    C 1
</IfModule>
<IfModule !prefork.c>
    D 1
    <Location /x>
        E 1
    </Location>
</IfModule>
<IfModule python_module>
    Listen ${PORT} ${UNKNOWN}
</IfModule>
UnDefine MINE
"""
    found = httpd("-D", "GIVEN", "-DSHORT", main=text)
    assert found.tree == [("A", "1"), ("C", "1"), ("Listen", "8080 ${UNKNOWN}")]
    assert found.defines == {"PORT", "GIVEN", "SHORT"}


def test_included_files_stand_in_their_place(httpd, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "b").write_text("B 1\n")
    (tmp_path / "parts" / "a").write_text("A 1\n")
    found = httpd(
        main="Include other.conf\nIncludeOptional parts/*\nC 1\n", other="ServerRoot /o\n"
    )
    assert found.root == "/o"
    assert found.tree == [("C", "1")]
    found = httpd(main="X 1\nInclude other.conf\nInclude parts\nC 1\n", other="O 1\n")
    assert found.tree == [("X", "1"), ("O", "1"), ("A", "1"), ("B", "1"), ("C", "1")]


def test_file_that_includes_itself_is_an_error(httpd):
    with pytest.raises(server_configuration.Unreadable, match="included by itself"):
        httpd(main="Include main.conf\n")


def test_file_that_is_not_there_is_named(httpd, tmp_path):
    with pytest.raises(server_configuration.Unreadable, match="nothing"):
        server_configuration.read(["apache2", "-f", str(tmp_path / "nothing.conf")])


def test_numbers_of_processes_and_threads(monkeypatch):
    monkeypatch.setattr(server_configuration, "_numbers", lambda: (7, 1))
    assert apache.mpm_query(apache.AP_MPMQ_IS_THREADED) == 0
    assert apache.mpm_query(apache.AP_MPMQ_IS_FORKED) == 2
    assert apache.mpm_query(apache.AP_MPMQ_MAX_DAEMONS) == 7
    monkeypatch.setattr(server_configuration, "_numbers", lambda: (1, 15))
    monkeypatch.setattr(server_configuration, "_process_group", lambda: "site")
    assert apache.mpm_query(apache.AP_MPMQ_IS_THREADED) == 1
    assert apache.mpm_query(apache.AP_MPMQ_IS_FORKED) == 1
    assert apache.mpm_query(apache.AP_MPMQ_MAX_THREADS) == 15
    with pytest.raises(ValueError, match="999"):
        apache.mpm_query(999)


def test_numbers_that_the_configuration_tells(monkeypatch):
    tree = [("MinSpareServers", "3"), ("MaxConnectionsPerChild", "1000")]
    found = server_configuration.Httpd("/etc", frozenset({"DEBUG"}), tree)
    monkeypatch.setattr(server_configuration, "_httpd", lambda: found)
    assert apache.mpm_query(apache.AP_MPMQ_MIN_SPARE_DAEMONS) == 3
    assert apache.mpm_query(apache.AP_MPMQ_MAX_SPARE_DAEMONS) == 10
    assert apache.mpm_query(apache.AP_MPMQ_MAX_REQUESTS_DAEMON) == 1000
    assert apache.exists_config_define("DEBUG") and not apache.exists_config_define("OTHER")
    assert apache.server_root() == "/etc"
    apache.config_tree().clear()
    assert apache.config_tree() == tree
    with pytest.raises(TypeError):
        apache.exists_config_define(5)

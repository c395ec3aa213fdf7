import pytest

from handlers.mod_python import apache
from handlers.runtime import server_configuration
from handlers.runtime.server import Server


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
    (tmp_path / "o").mkdir()
    root = f"ServerRoot {tmp_path}/o\n"
    found = httpd(main="Include other.conf\nIncludeOptional parts/*\nC 1\n", other=root)
    assert found.root == f"{tmp_path}/o"
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
    main = server_configuration.Host("", 0, (), tree)
    found = server_configuration.Httpd("/etc", frozenset({"DEBUG"}), main, [])
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


@pytest.fixture
def hosts(httpd, monkeypatch):
    """The servers of a configuration, by the name and the port that a client asks for."""
    found = httpd(
        main="""
ServerName main.test:8000
Timeout 20
LogLevel info wsgi:debug
SetEnv PythonOption.a "of main"
SetEnv other x
<VirtualHost \\
    *:80>
    ServerName http://first.test:80
    KeepAliveTimeout 300ms
    SetEnv PythonOption.b first
</VirtualHost>
<VirtualHost *:80 [::1]:81>
    ServerName second.test
    ServerAlias other.test *.wild.test
    ServerPath /legacy
    ErrorLog own.log
    Timeout 7
    KeepAlive Off
    LogLevel trace3
</VirtualHost>
<VirtualHost 192.0.2.7:80>
    ServerName alone.test
</VirtualHost>
"""
    )
    monkeypatch.setattr(server_configuration, "_httpd", lambda: found)

    def server(name, port="80", ip="192.0.2.1"):
        environ = {"HTTP_HOST": name, "SERVER_ADDR": ip, "SERVER_PORT": port, "SERVER_NAME": name}
        return Server(environ)

    return server


def test_server_is_that_of_the_name_and_address(hosts, tmp_path):
    assert hosts("first.test").defn_line_number == 7
    assert hosts("First.Test:80").is_virtual == 1
    assert hosts("second.test").defn_line_number == 13
    assert hosts("second.test").defn_name == str(tmp_path / "main.conf")
    for name in ("other.test", "a.wild.test"):
        assert hosts(name).path == "/legacy"
    # nobody has this name: the first one for the address
    assert hosts("nobody.test").defn_line_number == 7
    assert hosts("second.test", ip="192.0.2.7").defn_line_number == 22
    assert hosts("nobody.test", "81", "::1").defn_line_number == 13
    assert (hosts("first.test", "8000").is_virtual, hosts("x", "8000").defn_name) == (0, None)


def test_members_of_a_server_are_its_own_or_those_of_all(hosts):
    first, second = hosts("first.test"), hosts("second.test")
    assert (first.timeout, second.timeout) == (20.0, 7.0)
    assert (first.keep_alive_timeout, second.keep_alive_timeout) == (0.3, 5.0)
    assert (first.keep_alive, second.keep_alive) == (1, 0)
    assert (first.loglevel, second.loglevel) == (apache.APLOG_INFO, apache.APLOG_DEBUG)
    assert (first.error_fname, second.error_fname) == ("logs/error_log", "own.log")
    assert (second.names, second.wild_names) == (("other.test",), ("*.wild.test",))
    assert (first.path, first.pathlen, second.pathlen) == (None, 0, 7)
    assert first.limit_req_fields == 100


def test_main_server_and_that_of_a_connection_have_options_of_the_files(hosts):
    main = Server()
    assert (main.server_hostname, main.port) == ("main.test", 8000)
    assert dict(main.get_options()) == {"a": "of main"}
    main.get_options()["added"] = "1"
    assert main.get_options()["added"] == "1"
    base = hosts("second.test").of_connection()
    assert (base.server_hostname, base.port) == ("first.test", 80)
    assert dict(base.get_options()) == {"a": "of main", "b": "first"}
    assert hosts("x", "8000").of_connection() is apache.main_server


def test_members_are_absent_where_the_files_cannot_be_read(monkeypatch):
    def fail():
        raise server_configuration.Unreadable("httpd.conf: Permission denied")

    monkeypatch.setattr(server_configuration, "_httpd", fail)
    server = Server({"SERVER_NAME": "a.test", "PythonOption.a": "1"})
    for name in ("timeout", "is_virtual", "path", "names"):
        with pytest.raises(AttributeError, match="Permission denied"):
            getattr(server, name)
    assert server.of_connection() is server
    assert dict(server.get_options()) == {"a": "1"}
    assert len(Server().get_options()) == 0

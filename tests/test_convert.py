"""Configurations for mod_python, converted: text in, text out."""

import pathlib
import random

import pytest

from handlers.configuration.text import Malformed, parse, split
from handlers.convert.loading import Load
from handlers.convert.rewrite import convert
from handlers.convert.scripts import Scripts
from tests.converting import LOAD, LOAD_OF_MOD_WSGI, SCRIPTS, converted, in_section, lines


def test_text_without_mod_python_stays_byte_for_byte():
    text = (
        '# a\r\n<Directory "/x y">\n\tOptions -Indexes \\\n  +MultiViews\n</Directory>\n\xe9\x85x y'
    )
    result = converted(text)
    assert result.texts == [text]
    assert result.entries == []


def test_handler_of_a_location_is_told_its_url():
    found = in_section("PythonHandler a", 'Location "/x/"')
    assert found == ["SetEnv PythonHandler a", "SetEnv PythonHandler.location /x"]


WHOLE = """ServerRoot /etc/apache2
DocumentRoot /srv
<Directory />
    Require all denied
</Directory>
<Directory /srv>
    Require all granted
</Directory>
<Files ".ht*">
    Require all denied
</Files>
%s
ErrorDocument 404 /errors/404.html
<Directory /srv/app>
    SetHandler mod_python
    PythonHandler a
</Directory>
"""


@pytest.mark.parametrize(
    ("more", "file"),
    [
        ("", "/srv/errors/404.html"),
        ("Alias /errors /usr/share/errors", '""'),
        (
            "Alias /errors /usr/share/errors\n"
            "<Directory /usr/share/errors>\nRequire all granted\n</Directory>",
            "/usr/share/errors/404.html",
        ),
        ("<Directory /srv/other>\nRequire all denied\n</Directory>", "/srv/errors/404.html"),
        ("<Directory /srv/errors>\nRequire all denied\n</Directory>", '""'),
        ("<Directory /srv/errors>\nRequire ip 10.0.0.0/8\n</Directory>", '""'),
        ("<Directory /srv>\nDeny from all\n</Directory>", '""'),
        ("<Directory /srv>\nAllowOverride All\n</Directory>", '""'),
        ("<Directory /srv>\nAllowOverride None\n</Directory>", "/srv/errors/404.html"),
        ("<Location /errors>\nRequire user a\n</Location>", '""'),
        ('<LocationMatch "html$">\nRequire user a\n</LocationMatch>', '""'),
        ("<FilesMatch html>\nRequire all denied\n</FilesMatch>", '""'),
        ("<Directory /srv/errors>\nPythonAccessHandler x\n</Directory>", '""'),
        ("<Location /errors>\nSetHandler server-status\n</Location>", '""'),
        ("<If true>\nRequire all denied\n</If>", '""'),
        ("<IfModule x>\n<Directory /srv>\nRequire all granted\n</Directory>\n</IfModule>", '""'),
        ("RewriteRule a b", '""'),
        ("AddType application/x-httpd-php .php .html", '""'),
        ("AddType text/x-other .other", "/srv/errors/404.html"),
        ("<Directory /srv/errors>\nSSLRequireSSL\n</Directory>", '""'),
        ("<Directory /srv/errors>\nWSGIAccessScript /x\n</Directory>", '""'),
        (
            "<Directory /srv/errors>\nAuthMerging And\nRequire all granted\n</Directory>",
            '""',
        ),
        (
            "<Location /errors>\nRequire all granted\n</Location>\n"
            "<Location />\nRequire all denied\n</Location>",
            '""',
        ),
        (
            '<LocationMatch ".">\nRequire all granted\n</LocationMatch>\n'
            "<Location />\nRequire all denied\n</Location>",
            '""',
        ),
        (
            '<FilesMatch "html">\nRequire all granted\n</FilesMatch>\n'
            '<Files "*">\nRequire all denied\n</Files>',
            '""',
        ),
        (
            '<Directory ~ "^/srv">\nRequire all denied\n</Directory>\n'
            "<Directory /srv/errors>\nRequire all granted\n</Directory>",
            '""',
        ),
        (
            '<Directory "/*/errors">\nRequire all denied\n</Directory>\n',
            '""',
        ),
        ('<Location "/[!x]rrors">\nRequire all denied\n</Location>', '""'),
        ('<Files "[^x]*">\nRequire all denied\n</Files>', '""'),
        ("ProxyPass /errors http://b/", '""'),
        ("IncludeOptional x", '""'),
    ],
)
def test_file_of_an_error_document_is_one_that_everybody_may_have(more, file):
    found = lines(WHOLE % more)
    assert "SetEnv PythonErrorDocument.404 /errors/404.html" in found
    assert f"SetEnv PythonErrorDocument.404.file {file}" in found


def test_what_a_virtual_host_says_counts_more_than_the_server_wherever_it_stands():
    text = (WHOLE % "").replace(
        "ErrorDocument 404",
        "<VirtualHost *:80>\n<Location /errors>\nRequire all denied\n</Location>\n"
        "ErrorDocument 404",
    )
    text += "</VirtualHost>\n<Location /errors>\nRequire all granted\n</Location>\n"
    assert 'SetEnv PythonErrorDocument.404.file ""' in lines(text)


def test_error_document_of_a_part_of_the_configuration_names_no_file():
    found = lines((WHOLE % "").replace("ServerRoot /etc/apache2\n", ""))
    assert 'SetEnv PythonErrorDocument.404.file ""' in found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('ErrorDocument 404 "a b"', '"a b"'),
        ('ErrorDocument 404 "a b', '"a b"'),
        ("ErrorDocument 404 default", "default"),
        ("ErrorDocument 404 http://a.test/b", "http://a.test/b"),
    ],
)
def test_error_document_is_told_to_the_runtime(text, value):
    found = in_section(f"PythonHandler a\n{text}")
    assert found[-2:] == [text, f"SetEnv PythonErrorDocument.404 {value}"]


def test_error_document_that_only_apache_can_work_out_is_said():
    result = converted("PythonHandler a\nErrorDocument 404 /%{HTTP_HOST}\n")
    assert "PythonErrorDocument" not in result.texts[0]
    assert "only Apache can work it out" in result.notes[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PythonHandler a b::c", ['SetEnv PythonHandler "a b::c"']),
        ("pythonHANDLER a", ["SetEnv PythonHandler a"]),
        ("PythonHandler a | .py .x", ['SetEnv PythonHandler "a | .py .x"']),
        ("PythonHandler a \\\n   b", ['SetEnv PythonHandler "a    b"']),
        ("PythonLogHandler a", ["SetEnv PythonLogHandler a"]),
        ("PythonCleanupHandler a", ["SetEnv PythonCleanupHandler a"]),
        ("PythonDebug On", ["SetEnv PythonDebug On"]),
        ("PythonAutoReload Off", ["SetEnv PythonAutoReload Off"]),
        ("PythonEnablePdb On", ["SetEnv PythonEnablePdb On"]),
        ("PythonPath \"['/a'] + sys.path\"", ["SetEnv PythonPath \"['/a'] + sys.path\""]),
        (
            'PythonPath \'["/a", r"b\\\\c"]\'',
            ['SetEnv PythonPath \'["/a", r"b\\\\c"]\''],
        ),
        ("PythonOption a b", ["SetEnv PythonOption.a b"]),
        ("PythonOption a", ['SetEnv PythonOption.a ""']),
        ('PythonOption a ""', ['SetEnv PythonOption.a ""']),
        ('PythonOption \'a b\' "c \\" d"', ['SetEnv "PythonOption.a b" \'c " d\'']),
        ("PythonOption a ${HOME}", ["SetEnv PythonOption.a ${HOME}"]),
        ("PythonInterpreter one", ["WSGIApplicationGroup one"]),
        ("PythonInterpreter main_interpreter", ["WSGIApplicationGroup %{GLOBAL}"]),
        ("SetHandler mod_python", ["SetHandler mod_python"]),
        ("SetHandler python-program", ["SetHandler python-program"]),
    ],
)
def test_directive_becomes_what_mod_wsgi_and_the_runtime_read(text, expected):
    found = in_section(text, 'LocationMatch "^/x"')
    assert found == expected
    for line in found:
        name, _, arguments = line.partition(" ")
        if name == "SetEnv":
            assert len(split(arguments)) == 2


def test_handlers_of_one_section_are_one_list():
    assert in_section("PythonHandler a\nPythonHandler b\nPythonDebug On", "Location /") == [
        "SetEnv PythonHandler a",
        'SetEnv PythonHandler "a b"',
        "SetEnv PythonDebug On",
    ]
    assert in_section("PythonHandler a | .py\nPythonHandler b", "Location /")[1] == (
        'SetEnv PythonHandler "a | .py ; b"'
    )


def test_handler_that_adds_to_one_under_a_condition_is_left_out():
    result = converted("<IfDefine X>\nPythonHandler a\n</IfDefine>\nPythonHandler b\n")
    assert [entry.outcome for entry in result.entries] == ["carried", "dropped"]


def test_base_of_a_wsgi_application_is_the_url_of_its_section():
    base = "SetEnv PythonOption.mod_python.wsgi.base_uri"
    assert f"{base} /x" in in_section("PythonHandler mod_python.wsgi", "Location /x/")
    assert not [line for line in in_section("PythonHandler mod_python.wsgi") if base in line]
    own = "PythonHandler mod_python.wsgi\nPythonOption mod_python.wsgi.base_uri /y"
    assert [line for line in in_section(own, "Location /x") if base in line] == [f"{base} /y"]


def test_options_of_the_server_are_told_where_a_section_sets_others():
    text = "PythonOption a 1\nPythonDebug Off\n"
    assert [line for line in lines(text) if "PythonServer" in line] == []
    text += "<Location /x>\nPythonOption a 2\n</Location>\n"
    assert [line for line in lines(text) if "PythonServer" in line] == [
        "SetEnv PythonServer.PythonOption.a 1",
        "SetEnv PythonServer.PythonDebug Off",
    ]


def test_extensions_of_the_handler_are_told():
    assert in_section("AddHandler mod_python .py html\nPythonHandler a")[1] == (
        'SetEnv PythonOption.mod_python.addhandler_exts "py html"'
    )
    assert in_section("AddHandler cgi-script .cgi\nPythonHandler a")[0:2] == [
        "AddHandler cgi-script .cgi",
        "SetEnv PythonHandler a",
    ]


def test_directory_of_a_section_is_where_its_modules_are():
    assert in_section("PythonHandler a") == [
        "SetEnv PythonHandler a",
        "SetEnv PythonHandler.directory /srv/",
    ]
    assert lines("PythonHandler a\n", htaccess="/srv/x") == [
        "SetEnv PythonHandler a",
        "SetEnv PythonHandler.directory /srv/x/",
    ]
    inner = "<Directory /srv>\n<Files *.py>\nPythonHandler a\n</Files>\n</Directory>\n"
    assert "SetEnv PythonHandler.directory /srv/" in lines(inner)


def test_mod_wsgi_is_loaded_where_mod_python_was():
    (text,) = converted(f"# one\n{LOAD}# two\nPythonHandler a\n").texts
    assert text.startswith("# one\n# mod_wsgi in place of mod_python")
    assert text.endswith("\n# two\nSetEnv PythonHandler a\n")
    assert "LoadModule python_module" not in text
    assert "<IfModule !env_module>\n    LoadModule env_module modules/mod_env.so\n" in text
    for name in ("mod_python", "python-program"):
        assert f"WSGIHandlerScript {name} /scripts/mod_python.wsgi pass-authorization=On" in text


@pytest.mark.parametrize("module", ["mod_python.c", "python_module"])
def test_conditions_ask_for_mod_wsgi(module):
    text = (
        f"<IfModule {module}>\nPythonHandler a\n</IfModule>\n<IfModule !{module}>\nX\n</IfModule>\n"
    )
    found = lines(text)
    assert found[0] == "<IfModule wsgi_module>"
    assert found[3] == "<IfModule !wsgi_module>"


def test_load_under_a_condition_comes_before_it():
    (text,) = converted(f"<IfModule !mod_python.c>\n{LOAD}</IfModule>\nPythonHandler a\n").texts
    assert text.index("WSGIHandlerScript mod_python") < text.index("# LoadModule python_module")
    before = text[: text.index("# LoadModule python_module")]
    assert before.rstrip().endswith("<IfModule !wsgi_module>")


def test_configuration_for_both_servers_stays():
    text = (
        "<IfModule python_module>\nPythonHandler a\n</IfModule>\n"
        "<IfModule !python_module>\nSetEnv PythonHandler a\n</IfModule>\n"
    )
    scripts = Scripts(SCRIPTS, "/environment")
    assert convert([parse(text)], scripts, Load("x")).texts == [text]


def test_each_virtual_host_has_the_interpreter_of_its_name():
    text = "<VirtualHost *:80>\nServerName https://a.b:443\nPythonHandler x\n</VirtualHost>\n"
    assert "WSGIApplicationGroup a.b" in lines(text)
    (text,) = converted("<VirtualHost *:80>\nPythonHandler x\n</VirtualHost>\n").texts
    assert text.count("WSGIApplicationGroup") == 1
    assert "WSGIApplicationGroup %{SERVER}" in text


def test_interpreters_per_directive_and_directory(made=None):
    made = {}
    text = "PythonInterpPerDirective On\n<Directory /a>\nPythonHandler x\n</Directory>\n"
    assert "WSGIApplicationGroup /a/" in lines(text)
    text = "<Directory /a>\nPythonInterpPerDirectory On\nPythonHandler x\n</Directory>\n"
    found = lines(text, made=made)
    (script,) = [path for path in made if "/interpreter-" in path]
    assert f"WSGIDispatchScript {script} application-group=%{{SERVER}}" in found
    functions = {}
    exec(made[script], functions)
    assert functions["application_group"]({"SCRIPT_FILENAME": "/etc/no.py"}) == "/etc/"
    assert functions["application_group"]({"SCRIPT_FILENAME": "/etc"}) == "/etc/"


def test_import_at_the_start_of_a_child():
    made = {}
    text = "PythonPath \"['/a']\"\nPythonImport m::f main_interpreter\n"
    (line,) = [line for line in lines(text, made=made) if line.startswith("WSGIImportScript")]
    (script,) = [path for path in made if "/import-" in path]
    assert line == (
        f"WSGIImportScript {script} process-group=%{{GLOBAL}} application-group=%{{GLOBAL}}"
    )
    assert """import_at_start('m::f', "['/a']")""" in made[script]


def test_optimize():
    assert "WSGIPythonOptimize 2" in lines("PythonOptimize On\n")
    result = converted("<VirtualHost *:80>\nPythonOptimize On\n</VirtualHost>\n")
    assert not result.is_whole


def test_filters_and_their_uses():
    found = lines(
        "<Directory /a>\nSetHandler mod_python\nPythonOutputFilter m::f UP\n"
        "SetOutputFilter up;DEFLATE\nAddOutputFilter UP .py .x\nAddOutputFilter INCLUDES .shtml\n"
        "</Directory>\n"
    )
    assert found[2:-1] == [
        "SetEnv PythonOutputFilter.up m::f",
        "SetEnv PythonOutputFilter.directory /a/",
        "SetOutputFilter DEFLATE",
        "SetEnv PythonSetOutputFilter up",
        'SetEnv PythonAddOutputFilter "up .py .x"',
        "AddOutputFilter INCLUDES .shtml",
    ]


@pytest.mark.parametrize(
    ("option", "is_secret"),
    [
        *((f"{name} value", True) for name in ("password", "db_passwd", "dbPassword", "api_key")),
        *((f"{name} value", True) for name in ("secret", "session.secret", "TOKEN", "pass")),
        ("database mysql://a:b@host/x", True),
        *((f"{name} value", False) for name in ("compass_needle", "monkey", "path")),
        ("database mysql://a@host/x", False),
        ("password", False),
        ("password ${FROM_OUTSIDE}", False),
    ],
)
def test_secret_stays_out_of_the_environment_of_cgi_scripts(option, is_secret):
    made = {}
    (text,) = converted(f"PythonOption {option}\n", made=made).texts
    name, _, value = option.partition(" ")
    assert (f"SetEnv PythonOptionFile.{name} {SCRIPTS}/option-{name}" in text) == is_secret
    if is_secret:
        assert value not in text
        assert made[f"{SCRIPTS}/option-{name}"] == value


def test_secret_of_an_earlier_conversion_is_kept(tmp_path):
    for value in ("a", "b", "a"):
        scripts = Scripts(str(tmp_path), "/environment")
        convert([parse(f"PythonOption pass {value}\n")], scripts, LOAD_OF_MOD_WSGI)
        for path, secret in scripts.secrets.items():
            pathlib.Path(path).write_text(f"{secret}\n")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "option-pass": "a\n",
        "option-pass-2": "b\n",
    }


def test_two_secrets_of_one_name_have_two_files():
    made = {}
    text = "PythonOption pass a\n<Location /x>\nPythonOption pass b\n</Location>\n"
    found = [line for line in lines(text, made=made) if "SetEnv PythonOptionFile" in line]
    assert found == [
        "SetEnv PythonOptionFile.pass /scripts/option-pass",
        "SetEnv PythonOptionFile.pass /scripts/option-pass-2",
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ends_of_lines_and_indents_are_those_of_the_text(end):
    text = end.join(["<Location /a>", "\tPythonDebug On", "\tX", "</Location>", ""])
    (new,) = converted(text, htaccess="/srv").texts
    assert new == text.replace("PythonDebug", "SetEnv PythonDebug")


@pytest.mark.slow
def test_any_configuration_is_converted_or_malformed():
    """Whatever stands where: no other error, nothing of mod_python left, and twice is once."""
    chance = random.Random(7)
    words = [
        *("PythonHandler a", "PythonAccessHandler b | .x", "PythonAuthenHandler c", "PythonDebug"),
        *("PythonAuthzHandler d", "PythonOption", "PythonOption password x", "PythonPath"),
        *("PythonImport a", "PythonImport a b", "PythonInterpreter", "PythonInterpPerDirective On"),
        *("PythonInterpPerDirectory on", "PythonOutputFilter", "PythonOutputFilter a b"),
        *("SetOutputFilter b", "AddOutputFilter b .x", "PythonConnectionHandler", "AuthType Basic"),
        *("PythonHandlerModule x", "PythonOptimize On", "SetHandler mod_python", "SetHandler None"),
        *("Require valid-user", "Require all granted", LOAD.strip(), "ServerName a", "ServerName"),
        *("PythonFixupHandler x", "PythonTransHandler x", "AddHandler mod_python .py", "Alias /a"),
        *("ProxyPass", "RewriteRule a b [P]", "DAV", "# x \\", "", '"PythonHandler" x', "AuthName"),
        *("PythonHandler", "WSGIApplicationGroup x", "SetEnv a b", "PythonLogHandler x"),
    ]
    sections = [
        *(
            "Directory /a",
            "Directory ~ [",
            "DirectoryMatch x",
            "Location /",
            "LocationMatch (",
            "If x",
        ),
        *(
            "Files *.x",
            "VirtualHost *",
            "IfModule mod_python.c",
            "IfDefine X",
            "Limit GET",
            "Macro m",
        ),
        *("Location", "Directory ${A}", "RequireAny", "IfModule !mod_python.c", "Proxy *"),
    ]

    def some(depth):
        found = []
        for _ in range(chance.randrange(6)):
            if depth < 3 and chance.random() < 0.4:
                section = chance.choice(sections)
                found += [f"<{section}>", *some(depth + 1), f"</{section.split()[0]}>"]
            else:
                found.append("  " * depth + chance.choice(words))
        return found

    for _ in range(800):
        text = "\n".join(some(0)) + chance.choice(["", "\n"])
        try:
            parse(text)
        except Malformed:
            continue
        converted(text, chance.choice(["", "", "/srv"]))

"""Phases before the content, users among them: who runs them once they are converted."""

import pytest

from handlers.configuration.text import parse
from tests.converting import LOAD, converted, in_section, layers, lines


def test_users_of_served_pages_are_asked_for_and_known_to_the_handlers():
    found = in_section(
        "SetHandler mod_python\nPythonHandler a\nAuthType Basic\nAuthName x\n"
        "Require valid-user\nPythonAuthenHandler a\nPythonAuthzHandler a"
    )
    assert "SetEnv PythonAuthenHandler a" in found
    assert "SetEnv PythonAuthzHandler a" in found
    assert "Require valid-user" in found
    assert any(line.startswith("WSGIAuthUserScript") for line in found)
    assert not any(line.startswith("WSGIAuthGroupScript") for line in found)


def test_handlers_of_a_virtual_host_count_more_than_those_of_the_server_below_it():
    made: dict = {}
    lines(
        "ServerRoot /etc/apache2\nDocumentRoot /srv\n<VirtualHost *:80>\n"
        "<Location /x>\nPythonAccessHandler strict\n</Location>\n</VirtualHost>\n"
        "<Location /x>\nPythonAccessHandler lax\n</Location>\n",
        made=made,
    )
    assert_order(made, "lax", "strict")


def assert_order(made, first, second):
    """Make sure that handlers stand in this order in each script that has both."""
    scripts = [text for path, text in made.items() if "/front-" in path]
    both = [text for text in scripts if first in text and second in text]
    assert both
    assert all(text.index(first) < text.index(second) for text in both)


def test_sections_of_files_take_turns_with_their_patterns():
    made: dict = {}
    lines(
        "ServerRoot /etc/apache2\nDocumentRoot /srv\n"
        '<FilesMatch "x">\nPythonAccessHandler first\n</FilesMatch>\n'
        '<Files "x*">\nPythonAccessHandler second\n</Files>\n',
        made=made,
    )
    assert_order(made, "first", "second")


def test_phases_run_in_the_runtime_where_it_answers_every_request():
    found = in_section("SetHandler mod_python\nPythonAccessHandler a\nPythonFixupHandler b")
    assert "SetEnv PythonAccessHandler a" in found
    assert "SetEnv PythonFixupHandler b" in found


@pytest.mark.parametrize(
    "other",
    [
        "<Location /srv/media>\nSetHandler None\n</Location>",
        "<Directory /srv/media>\nSetHandler default-handler\n</Directory>",
        "<Directory /srv/dav>\nDAV On\n</Directory>",
        "<DirectoryMatch x>\nSetHandler cgi-script\n</DirectoryMatch>",
        "<Files *.cgi>\nSetHandler cgi-script\n</Files>",
        "<If true>\nSetHandler cgi-script\n</If>",
        'ScriptAlias /cgi "/srv/cgi/"',
        "<Directory /srv>\nRewriteRule x http://y [P,L]\n</Directory>",
        "<IfDefine X>\n<Directory /srv/x>\nSetHandler None\n</Directory>\n</IfDefine>",
    ],
)
def test_phases_run_in_a_script_where_others_answer_some_of_the_requests(other):
    text = "<Directory /srv>\nSetHandler mod_python\nPythonAccessHandler a\n</Directory>\n"
    found = lines(f"{text}{other}\n")
    assert not [line for line in found if "SetEnv PythonAccessHandler" in line]
    assert [line for line in found if line.startswith("WSGIAccessScript /scripts/front-")]


@pytest.mark.parametrize(
    "other",
    [
        "<Directory /var>\nSetHandler None\n</Directory>",
        "ProxyPass /x http://y",
        "<VirtualHost *:80>\n<Location />\nSetHandler None\n</Location>\n</VirtualHost>",
        "<Directory />\nSetHandler None\n</Directory>",
        "RewriteRule x y [L]",
    ],
)
def test_others_that_answer_no_request_of_the_section_do_not_matter(other):
    text = "<Directory /srv>\nSetHandler mod_python\nPythonAccessHandler a\n</Directory>\n"
    assert "SetEnv PythonAccessHandler a" in lines(f"{text}{other}\n")


@pytest.mark.parametrize(
    ("more", "is_so"),
    [
        ("ServerRoot /x", True),
        ("", False),
        ("ServerRoot /x\nInclude y", False),
        ("ServerRoot /x\nAddHandler cgi-script .cgi", False),
        ("ServerRoot /x\n<Location /cgi>\nSetHandler cgi-script\n</Location>", False),
        ("ServerRoot /x\n<Directory /a/b>\nSetHandler mod_python\n</Directory>", False),
        ("ServerRoot /x\n<Directory /b>\nAddHandler mod_python .py\n</Directory>", True),
        ("ServerRoot /x\nScriptAlias /cgi /a/cgi", False),
        ("ServerRoot /x\nScriptAlias /cgi /b/cgi", True),
    ],
)
def test_runtime_sends_files_that_a_phase_may_change(more, is_so):
    found = lines(f"{more}\n<Directory /a>\nPythonFixupHandler x\n</Directory>\n")
    assert ("SetHandler python-phases" in found) == is_so
    assert ("SetEnv PythonFixupHandler x" in found) == is_so
    assert bool([line for line in found if line.startswith("WSGIAccessScript")]) != is_so


def test_handler_of_the_place_around_counts():
    text = (
        "<VirtualHost *:80>\nSetHandler mod_python\n<Directory /a>\nPythonAccessHandler x\n"
        "</Directory>\n</VirtualHost>\n"
    )
    assert "SetEnv PythonAccessHandler x" in lines(text)
    text = (
        "<Directory /a>\nSetHandler mod_python\n</Directory>\n"
        "<Directory /a/b>\nPythonAccessHandler x\n</Directory>\n"
    )
    assert "SetEnv PythonAccessHandler x" in lines(text)
    # not the one of a directory beside it
    assert "SetEnv PythonAccessHandler x" not in lines(text.replace("/a/b", "/ab"))


def test_script_knows_the_sections_in_apaches_order():
    made = {}
    lines(
        "PythonOption a 1\nAlias /x /else\n"
        "<Location /l>\nPythonOption a 4\n</Location>\n"
        "<Directory /srv/b/c>\nPythonOption a 3\n</Directory>\n"
        "<Directory /srv/b>\nPythonAccessHandler x\nPythonAccessHandler y\nPythonDebug On\n"
        "</Directory>\n",
        made=made,
    )
    assert layers(made) == (
        [
            {"where": [], "set": {"PythonOption.a": "1"}},
            {
                "where": [],
                "set": {"PythonAccessHandler": "x y", "PythonDebug": "On"},
                "directory": "/srv/b/",
            },
            {
                "where": [["directory", "/srv/b/c"]],
                "set": {"PythonOption.a": "3"},
                "directory": "/srv/b/c/",
            },
            {"where": [["location", "/l"]], "set": {"PythonOption.a": "4"}},
        ],
        [["/x", "/else"]],
    )


@pytest.mark.parametrize(
    "text",
    [
        "<Location />\nAuthType Digest\nRequire valid-user\nPythonAuthenHandler x\n</Location>",
        "<Location />\nRequire valid-user\nPythonAuthenHandler x\n</Location>",
        "<Location />\nAuthType Basic\nRequire user a\nPythonAuthzHandler x\n</Location>",
        "<Location />\nAuthType Basic\nPythonAuthzHandler x\n</Location>",
        "<Location />\nAuthType Digest\nRequire valid-user\nPythonHandlerModule x\n</Location>",
        "<Location />\nAuthType Basic\nRequire user a\nPythonHandlerModule x\n</Location>",
        "PythonConnectionHandler x",
        "<VirtualHost *:80>\nPythonConnectionHandler x\n</VirtualHost>",
        "<If true>\nPythonAccessHandler x\n</If>\n<If false>\nPythonAccessHandler y\n</If>",
        # which of the two a request belongs to can't be told
        "RewriteRule a b\n<Location /a>\nPythonAccessHandler x\n</Location>\n"
        "<Directory /a>\nPythonAccessHandler y\n</Directory>",
    ],
)
def test_phase_that_cannot_be_carried_over_closes_its_section(text):
    result = converted(text + "\n")
    assert "refused" in [entry.outcome for entry in result.entries]
    (new,) = result.texts
    tree = parse(new)
    assert "Require all denied" in new
    # no other Require beside it, which would count as much
    for line in tree.walk():
        if line.key == "require" and line.arguments == "all denied":
            beside = [other for other in line.parent.children if other.key == "require"]
            assert beside == [line]


@pytest.mark.parametrize("phase", ["Access", "HeaderParser", "Init", "Fixup", "Type"])
def test_phase_in_htaccess_is_closed_unless_the_runtime_answers(phase):
    directive = f"Python{phase}Handler"
    assert "Require all denied" in lines(f"{directive} x\n", htaccess="/srv")
    found = lines(f"SetHandler mod_python\n{directive} x\n", htaccess="/srv")
    assert f"SetEnv {directive} x" in found


def test_htaccess_holds_only_what_may_stand_there():
    made = {}
    result = converted(
        "AuthType Basic\nRequire valid-user\nPythonAuthenHandler x\nPythonInterpreter y\n"
        "PythonInterpPerDirectory On\nPythonHandler z\nAddHandler mod_python .py\n",
        "/srv",
        made,
    )
    allowed = (
        "SetEnv",
        "AuthType",
        "AuthBasicProvider",
        "WSGIAuthUserScript",
        "Require",
        "AddHandler",
    )
    found = [line.name for line in parse(result.texts[0]).walk()]
    assert set(found) <= {"", *allowed}
    assert "AuthBasicProvider" in found and "WSGIAuthUserScript" in found
    assert [entry.outcome for entry in result.entries].count("dropped") == 2


def test_virtual_host_keeps_its_phases_beside_those_of_the_server():
    """Apache runs one script only, and a <Location> of the server comes after a <Directory>."""
    made = {}
    found = lines(
        "<Location />\nPythonAccessHandler x\n</Location>\n"
        "<VirtualHost *:80>\n<Directory /a>\nPythonAccessHandler y\n</Directory>\n</VirtualHost>\n",
        made=made,
    )
    host = found[found.index("<VirtualHost *:80>") :]
    assert host[-5:-1] == ['<Location "/">', host[-4], "</Location>", "</VirtualHost>"][:4] or (
        '<Location "/">' in host
    )
    script = next(line.split()[1] for line in reversed(host) if line.startswith("WSGIAccessScript"))
    assert "'PythonAccessHandler': 'x'" in made[script]
    assert "'PythonAccessHandler': 'y'" in made[script]


def test_basic_authentication_asks_the_script_before_its_other_providers():
    found = in_section(
        "AuthType Basic\nAuthName x\nAuthBasicProvider file\nRequire valid-user\n"
        "PythonAuthenHandler a"
    )
    assert found.index("AuthBasicProvider wsgi") < found.index("AuthBasicProvider file")
    basic = "AuthType Basic\nRequire valid-user\nPythonAuthenHandler a\nAuthUserFile "
    found = in_section(f"{basic}/dev/null")
    assert found[0] == "AuthBasicProvider wsgi file"
    assert "Require valid-user" in found


def test_phases_of_the_runtime_ask_for_users_in_their_own_way():
    text = "SetHandler mod_python\nAuthType own\nRequire valid-user\nPythonAuthenHandler a"
    found = in_section(text)
    assert "SetEnv PythonAuthenHandler a" in found
    # no Require at all would be an error of Apache's
    assert "Require all granted" in found
    assert "Require valid-user" not in found


def test_file_of_users_is_asked_when_apache_asks_it():
    basic = "AuthType Basic\nRequire valid-user\nPythonAuthenHandler a\nAuthUserFile y"
    assert in_section(f"{basic}\nAuthBasicAuthoritative Off")[-1] == "AuthBasicProvider file wsgi"
    assert "Require all denied" in in_section(basic)
    section = f"<Location /x>\n{basic}\n</Location>\n"
    other = "LoadModule auth_basic_module modules/mod_auth_basic.so\n"
    assert "AuthBasicProvider wsgi file" in lines(f"{LOAD}{other}{section}")
    assert "Require all denied" in lines(f"{other}{LOAD}{section}")


def test_closed_for_all_methods_where_the_directive_was_for_some():
    found = in_section("<Limit GET>\nAuthType Digest\nPythonAuthenHandler a\n</Limit>")
    assert found.index("Require all denied") > found.index("</Limit>")


def test_authorization_replaces_valid_user():
    found = in_section(
        "AuthType Basic\nRequire valid-user\nPythonAuthenHandler a\nPythonAuthzHandler b"
    )
    assert "Require valid-user" not in found
    assert "Require wsgi-group mod_python" in found


def test_client_is_asked_for_a_password_that_access_handlers_check():
    made = {}
    text = "AuthType Basic\nAuthName x\nPythonAccessHandler a"
    found = lines(f"<Location /git>\n{text}\n</Location>\n", made=made)
    for line in ("Satisfy Any", "Require valid-user", "AuthBasicProvider wsgi"):
        assert line in found
    assert layers(made)[0][0]["set"] == {"PythonAccessHandler": "a", "asking": "1"}
    (whole,) = converted(f"<Location /git>\n{text}\n</Location>\n").texts
    for name in ("auth_basic", "authz_user", "access_compat"):
        assert f"LoadModule {name}_module" in whole


@pytest.mark.parametrize(
    "more",
    [
        "Require valid-user",
        "Require ip 10.0.0.1",
        "Deny from all",
        "Satisfy All",
        "Require valid-user\nPythonAuthenHandler b",
    ],
)
def test_nobody_is_asked_where_something_else_decides(more):
    text = f"AuthType Basic\nPythonAccessHandler a\n{more}"
    assert "Satisfy Any" not in in_section(text, "Location /git")
    around = f"<Directory /srv>\n{more}\n</Directory>\n<Directory /srv/git>\nAuthType Basic\n"
    around += "PythonAccessHandler a\n</Directory>\n"
    if "Authen" not in more:
        assert "Satisfy Any" not in lines(around)


def test_kind_of_authentication_is_told_to_handlers():
    found = in_section("SetHandler mod_python\nPythonHandler a\nAuthType Basic\nAuthName 'x y'")
    assert "SetEnv PythonOption.mod_python.auth_type Basic" in found
    assert 'SetEnv PythonOption.mod_python.auth_name "x y"' in found

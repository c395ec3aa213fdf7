"""Apache's configuration files: their syntax, and what of them holds, as Apache itself has it."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from handlers.configuration import effective
from handlers.configuration.text import Malformed, Section, parse, split

MODULES = pathlib.Path("/usr/lib/apache2/modules")


@pytest.fixture
def holding(tmp_path):
    """Return a function: the directives that hold of a text, each on one line."""

    def read(text, *defines, **options):
        (tmp_path / "main.conf").write_text(text)
        options = {"environment": {"SET": "of the environment"}, **options}
        path = str(tmp_path / "main.conf")
        return printed(effective.read(path, str(tmp_path), defines, **options).tree)

    return read


def printed(section):
    lines = []
    for line in section.children:
        if isinstance(line, Section):
            lines += [f"<{line.name} {line.arguments}>", *printed(line), f"</{line.name}>"]
        else:
            lines.append(f"{line.name} {line.arguments}".rstrip())
    return lines


# -- the text


@pytest.mark.parametrize(
    "text", ["<Directory /a>\n", "</Directory>\n", "<Directory /a>\n</Location>\n", "<A>\n</B>"]
)
def test_text_that_apache_refuses_is_malformed(text):
    with pytest.raises(Malformed, match=r":[12]: "):
        parse(text)


@pytest.mark.parametrize(
    "text, words",
    [
        ("a b", ["a", "b"]),
        (" a\t b ", ["a", "b"]),
        ('"a b" c', ["a b", "c"]),
        ("'a \"b\"' c", ['a "b"', "c"]),
        (r'"a \"b\" \\ \c"', [r'a "b" \ \c']),
        (r"a\ b", ["a\\", "b"]),
        ('"" x', ["", "x"]),
        ('"open x', ["open x"]),
        ("a # b", ["a", "#", "b"]),
        ('a"b c"', ['a"b', 'c"']),
    ],
)
def test_words_are_those_of_apache(text, words):
    assert split(text) == words


def test_line_may_go_on_and_so_may_a_comment():
    tree = parse("A b \\\n  c\n# x \\\nB\nC \\\r\nd\r\nD \\")
    lines = [(line.number, line.name, line.arguments) for line in tree.children]
    assert lines == [(1, "A", "b   c"), (3, "", ""), (5, "C", "d"), (7, "D", "\\")]


def test_sections_nest_and_names_have_no_case():
    (outer,) = parse('<VirtualHost *:80 >\n<Files "a b">\nX\n</FILES>\n</virtualhost>').children
    (inner,) = outer.children
    assert (outer.key, outer.words, inner.words) == ("virtualhost", ["*:80"], ["a b"])
    assert inner.children[0].place == "standard input:3"


# -- what holds


def test_conditions_are_replaced_by_what_they_hold(holding):
    text = "Define A\n<IfDefine A>\n<Location /x>\nX 1\n</Location>\n<IfDefine B>\nY\n"
    assert holding(f"{text}<Z>\n</Z>\n</IfDefine>\n</IfDefine>\n") == [
        *("Define A", "<Location /x>", "X 1", "</Location>"),
    ]


@pytest.mark.parametrize(
    "condition, holds",
    [
        ("IfDefine GIVEN", True),
        ("ifdefine GIVEN", True),
        ("IfDefine given", False),
        ("IfDefine !GIVEN", False),
        ("IfDefine !other", True),
        ("IfModule mod_so.c", True),
        ("IfModule watchdog_module", True),
        ("IfModule !mod_logio.c", False),
        ("IfModule mod_alias.c", True),
        ("IfModule alias_module", True),
        ('IfModule "alias_module"', True),
        ("IfModule alias", False),
        ("IfModule MOD_ALIAS.C", False),
        ("IfModule prefork.c", True),
        ("IfModule mod_mpm_prefork.c", False),
        ("IfModule mpm_prefork_module", True),
        ("IfModule mod_wsgi.c", True),
        ("IfModule none_module", False),
        ("IfFile main.conf", True),
        ("IfFile !main.conf", False),
        ("IfVersion >= 2.4", True),
        ("IfVersion < 2.4", False),
        ("IfVersion !< 2.4", True),
        ("IfVersion 2.4", False),
        (r"IfVersion /^2\.4\./", True),
        (r"IfVersion ~ ^2\.2", False),
        ("IfVersion wrong 2.4", False),
        ("IfDirective SetEnv", True),
        ("IfSection !Directory", False),
    ],
)
def test_condition(holding, condition, holds):
    loaded = [
        "LoadModule alias_module modules/mod_alias.so",
        "LoadModule mpm_prefork_module modules/mod_mpm_prefork.so",
        "LoadModule wsgi_module modules/mod_wsgi-py311.cpython-311.so",
    ]
    name = condition.split()[0]
    text = "\n".join([*loaded, f"<{condition}>", "X", f"</{name}>"])
    assert holding(text, "GIVEN") == [*loaded, *(["X"] if holds else [])]


def test_variables_are_of_define_first_and_then_of_the_environment(holding):
    text = "A ${SET} ${no}\nDefine set 'a b'\nA ${Set}\nA ${x${set}}\nUnDefine SET\nA ${SET}\n"
    assert [line for line in holding(text) if line.startswith("A ")] == [
        "A of the environment ${no}",
        "A a b",
        "A ${x${set}}",
        "A of the environment",
    ]
    assert holding("Define N 80\n<VirtualHost *:${N}>\n</VirtualHost>")[1] == "<VirtualHost *:80>"


def test_included_files_stand_behind_the_line_that_names_them(holding, tmp_path):
    (tmp_path / "parts" / "b").mkdir(parents=True)
    for name in ("c", "b/x", "a", ".hidden"):
        (tmp_path / "parts" / name).write_text(f"X {name}\n")
    assert holding("Include parts\nY") == [
        *("Include parts", "X .hidden", "X a", "X b/x", "X c", "Y"),
    ]
    assert holding("IncludeOptional parts/[ab]*\nInclude none/*.conf") == [
        *("IncludeOptional parts/[ab]*", "X a", "X b/x", "Include none/*.conf"),
    ]
    root = f"ServerRoot {tmp_path}/parts"
    assert holding(f"{root}\nInclude a\n<Files x>\nInclude c\n</Files>") == [
        *(root, "Include a", "X a", "<Files x>", "Include c", "X c", "</Files>"),
    ]
    assert holding(f"ServerRoot {tmp_path}/nothing\nInclude parts/a")[-1] == "X a"


def test_file_that_includes_itself_or_is_malformed_is_refused(holding, tmp_path):
    with pytest.raises(Malformed, match=r"main.conf is included by itself, by way of .*b.conf:2"):
        (tmp_path / "b.conf").write_text("\nInclude main.conf\n")
        holding("Include b.conf")
    with pytest.raises(Malformed, match=r"c.conf:1: <Files> is not closed"):
        (tmp_path / "c.conf").write_text("<Files x>\n")
        holding("Include c.conf\n")


def test_file_that_cannot_be_read_is_an_error_or_left_out(holding, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        effective.read(str(tmp_path / "nothing.conf"), "/")
    (tmp_path / "secret.conf").write_text("X")
    monkeypatch.setattr(os, "access", lambda path, _: "secret" not in path)
    assert holding("Include secret.conf", skip_unreadable=True) == ["Include secret.conf"]
    assert holding("Include secret.conf") == ["Include secret.conf", "X"]


ORACLE = r"""
ServerName x
Listen 127.0.0.1:80
DefaultRuntimeDir .
ErrorLog log
Define PORT 8080
Define Name "two words"
Define Flag
# a comment goes on \
SetEnv swallowed 1
  SetEnv continued \
    1
SetEnv quoted 'it\'s "so" # and'
SetEnv back\slash "c:\\dir\x"
SetEnv variables "${PORT}${port} ${Name} ${SET} ${NONE} ${a${Name}}x"
<IfDefine PORT>
    SetEnv defined 1
</IfDefine>
<ifdefine port>
    SetEnv defined-otherwise 1
</ifdefine>
<IfDefine !Flag>
    SetEnv no-flag 1
    <IfModule mod_env.c>
        SetEnv never 1
    </IfModule>
</IfDefine>
<IfModule mod_env.c>
    SetEnv file 1
</IfModule>
<IfModule "env_module">
    SetEnv name 1
</IfModule>
<IfModule prefork.c>
    SetEnv mpm 1
</IfModule>
<IfModule mod_mpm_prefork.c>
    SetEnv no-mpm 1
</IfModule>
<IfModule MOD_ENV.C>
    SetEnv upper 1
</IfModule>
<IfFile parts/b>
    SetEnv there 1
</IfFile>
<IfVersion >= 2.4>
    SetEnv new 1
</IfVersion>
<IfVersion = 2.4>
    SetEnv exact 1
</IfVersion>
<IfVersion ~ ^2\.4\.>
    SetEnv matching 1
</IfVersion>
<VirtualHost *:80>
    ServerName "y"
    <Directory "/srv/a b">
	Require	all   granted
        <Limit GET>
            Require all denied
        </Limit>
        <IfModule !none.c>
            SetEnv deep 1
        </IfModule>
    </Directory>
</VirtualHost>
UnDefine port
<IfDefine PORT>
    SetEnv still ${PORT}
</IfDefine>
Include parts
IncludeOptional none/*.conf
IncludeOptional parts/*.conf
Include parts/s*/*.conf
"""


@pytest.mark.server
def test_all_that_holds_is_what_apache_says_of_it(tmp_path):
    """httpd -t -DDUMP_CONFIG prints the configuration that httpd keeps."""
    (tmp_path / "parts" / "sub").mkdir(parents=True)
    for name in (".hidden", "b", "a.conf", "sub/x.conf"):
        (tmp_path / "parts" / name).write_text(f'SetEnv {name.replace("/", "-")} "${{Name}}"\n')
    loads = [
        f"LoadModule {name}_module {MODULES}/mod_{name}.so"
        for name in ("info", "mpm_prefork", "env", "authz_core")
    ]
    path = tmp_path / "main.conf"
    path.write_text("\n".join([f"ServerRoot {tmp_path}", *loads, ORACLE]))
    httpd = shutil.which("apache2") or shutil.which("httpd")
    environment = {"PATH": os.environ["PATH"], "SET": "of the environment"}
    done = subprocess.run(
        [httpd, "-t", "-DDUMP_CONFIG", "-f", str(path)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    theirs = [line.strip() for line in done.stdout.splitlines()]
    theirs = [line for line in theirs if line and not line.startswith("#")]
    done_when_read = (
        r"(Define|UnDefine|Include|IncludeOptional|LoadModule|ServerRoot|DefaultRuntimeDir) "
    )
    found = effective.read(str(path), "/", ["DUMP_CONFIG"], environment)
    ours = [line for line in printed(found.tree) if not re.match(done_when_read, line)]
    assert ours == [line for line in theirs if line != "Syntax OK"]
    assert found.defines == {"DUMP_CONFIG", "PORT", "Name", "Flag"}

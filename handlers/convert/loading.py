"""The lines that load mod_wsgi, and the other modules that a converted configuration needs."""

from dataclasses import dataclass

from handlers.configuration.text import Line, quote

#: The option of the command that lets handlers read Apache's own structures.
REQUEST_REC = "--request-rec"


@dataclass
class Load:
    """How mod_wsgi is loaded where no line of the configuration loads it."""

    #: Its file.
    module: str
    #: The environment whose Python it is to run; empty for the Python that it was built for.
    python_home: str = ""
    #: The directory of Apache's own modules.
    modules: str = "modules"
    #: Whether handlers read Apache's own structures.
    request_rec: bool = False

    def lines(self, loads: list[Line], needed: list[str]) -> list[str]:
        """Return the lines; they load only what no other line has loaded.

        :param loads: the lines that loaded mod_python; Apache's modules lie beside it.
        :param needed: names of Apache's modules, without ``mod_`` and ``.so``.
        """
        found = loads[0].words[1] if loads and len(loads[0].words) > 1 else ""
        modules = self.modules
        if found.endswith("mod_python.so") and "/" in found:
            modules = found.rpartition("/")[0]
        lines = [
            "# mod_wsgi in place of mod_python, by modpython-handlers convert",
            "<IfModule !wsgi_module>",
            f"    LoadModule wsgi_module {quote(self.module)}",
        ]
        if self.python_home:
            lines.append(f"    WSGIPythonHome {quote(self.python_home)}")
        lines.append("</IfModule>")
        for name in needed:
            lines += [
                f"<IfModule !{name}_module>",
                f"    LoadModule {name}_module {quote(f'{modules}/mod_{name}.so')}",
                "</IfModule>",
            ]
        return lines

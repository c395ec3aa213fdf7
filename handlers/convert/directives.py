"""The names of mod_python's directives, by what becomes of them."""

from handlers.runtime import options

#: Every one, by its name in lower case.
NAMES = {
    name.lower(): name
    for name in (
        *("PythonAccessHandler", "PythonAuthenHandler", "PythonAuthzHandler", "PythonAutoReload"),
        *("PythonCleanupHandler", "PythonConnectionHandler", "PythonDebug", "PythonEnablePdb"),
        *("PythonFixupHandler", "PythonHandler", "PythonHandlerModule", "PythonImport"),
        *("PythonHeaderParserHandler", "PythonInitHandler", "PythonInputFilter", "PythonOption"),
        *("PythonInterpPerDirective", "PythonInterpPerDirectory", "PythonInterpreter"),
        *("PythonLogHandler", "PythonOptimize", "PythonOutputFilter", "PythonPath"),
        *("PythonPostReadRequestHandler", "PythonTransHandler", "PythonTypeHandler"),
    )
}
AUTH = ("pythonauthenhandler", "pythonauthzhandler")
#: Other phases before the content handler, which any of them may refuse, in their order.
BEFORE = tuple(phase.lower() for phase in options.BEFORE if phase.lower() not in AUTH)
#: Phases that refuse nothing.
AFTER = ("pythonhandler", "pythonloghandler", "pythoncleanuphandler")
#: Names one module for the handlers of all phases.
HANDLER_MODULE = options.HANDLER_MODULE.lower()
FLAGS = ("pythonautoreload", "pythondebug", "pythonenablepdb")
FILTERS = ("pythoninputfilter", "pythonoutputfilter")
#: Apache's directives that name a filter, and the variables that stand for them.
USES_OF_FILTERS = {
    "setinputfilter": "PythonSetInputFilter",
    "setoutputfilter": "PythonSetOutputFilter",
    "addinputfilter": "PythonAddInputFilter",
    "addoutputfilter": "PythonAddOutputFilter",
}
#: What ``<IfModule>`` may call mod_python.
MODULES = ("mod_python.c", "python_module")

"""Attributes that are computed when they are first asked for."""


class lazy:
    """An attribute computed at its first use; it can be assigned to like any other."""

    def __init__(self, compute):
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, request, owner=None):
        if request is None:
            return self
        value = request.__dict__[self._name] = self._compute(request)
        return value

"""What handlers make of forms and cookies that clients send."""

from mod_python import Cookie, util

from .answers import write_answer


def count(req):
    """Count the fields of a form, the bytes of their text, and those of its files."""
    fields = util.FieldStorage(req, keep_blank_values=1).list

    def counted():
        files = [field for field in fields if field.filename]
        text = sum(len(field) for field in fields if not field.filename)
        return len(fields), text, sum(file.file.seek(0, 2) for file in files)

    return write_answer(req, counted)


def cookies(req):
    """Name the cookies and their values."""
    return write_answer(
        req, lambda: sorted((name, one.value) for name, one in Cookie.get_cookies(req).items())
    )

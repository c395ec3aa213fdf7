"""Opens the request's session, counts in it, and saves it: on both servers, with any store."""

from mod_python import Session, apache


def handler(req):
    session = Session.Session(req)
    session["hits"] = session.get("hits", 0) + 1
    session.save()
    req.content_type = "text/plain"
    req.write(str(session["hits"]))
    return apache.OK

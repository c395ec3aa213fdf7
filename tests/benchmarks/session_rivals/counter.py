"""Opens the request's session, counts in it, and saves it: on both servers, with any store.

With the query ``hello`` it greets, without a session: what the server itself costs.
"""

from mod_python import Session, apache


def handler(req):
    req.content_type = "text/plain"
    if req.args == "hello":
        req.write("Hello, world")
        return apache.OK
    session = Session.Session(req)
    session["hits"] = session.get("hits", 0) + 1
    session.save()
    req.write(str(session["hits"]))
    return apache.OK

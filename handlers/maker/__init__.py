"""Makers: processes that make thumbnails one after the other for the children of the server.

A child that holds one of the ``thumbnail.makers`` turns asks the maker of that turn
(:mod:`handlers.maker.client`), and starts it if there is none. The maker (:mod:`.process`) gets the
source as an open descriptor over a Unix socket and answers with the bytes of the thumbnail. It can
open, connect to and execute nothing (:mod:`.confinement`). It goes when nobody has asked for some
seconds, when httpd has gone, or when it has grown.
"""

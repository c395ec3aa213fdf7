"""Thumbnails of pictures, by Pillow: geometry, guards, decoding, scaling, encoding; no HTTP here.

:mod:`handlers.image.thumbnail` is the way in; :mod:`handlers.image.geometry` needs no Pillow.
"""

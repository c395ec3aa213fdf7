"""What can be wrong with a source picture."""


class ImageError(Exception):
    """Raised, as one of its subclasses, when no thumbnail can be made of a source."""


class RefusedSource(ImageError):
    """Raised before any pixel is decoded, when a source is over a limit; the message names it."""


class TooCostly(RefusedSource):
    """Raised when a source would take too much memory for a thumbnail of this size and format."""


class BrokenSource(ImageError):
    """Raised when a source cannot be decoded whole: damaged, truncated, or of an unknown kind."""


class SourceUnavailable(Exception):
    """Raised when the storage fails while a source is read: the source is not to blame."""

"""Apache's configuration files: their syntax (``text``), and what of them holds (``effective``).

Every part that reads these files reads them by this package. It knows nothing of what directives
mean, except for those that decide which lines httpd reads at all.
"""

"""Start Apache prefork on a folder of pictures, with the shipped drop-in and nothing else.

``apache_conf/quickstart`` installs what is missing and then runs this package.
"""

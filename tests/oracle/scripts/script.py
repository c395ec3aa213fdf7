"""A CGI script."""

import os

print("Content-Type: text/x-script")
print("X-Own: 1")
print("Status: 202 Accepted")
print()
print(__name__, os.getcwd() == os.path.dirname(os.environ["SCRIPT_FILENAME"]))
print(os.environ["QUERY_STRING"], os.environ["SCRIPT_NAME"], os.environ["GATEWAY_INTERFACE"])

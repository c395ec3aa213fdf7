"""A script that reads a body."""

import sys

print("Content-Type: text/plain\n")
print(sys.stdin.read())

"""Handlers that ask a server what it does; they run unmodified on mod_python and on the runtime.

Each public function of a module is a handler; those that are lists of questions take the question's
name from the query and write the answer, so that a test can compare two servers' answers.
"""

"""Tokens of an answer on their way to a browser, while a job makes them.

The browser may reload, lose its network or be answered by another process: it goes on with the token that comes next,
because each event has a number, and the browser sends the last one it has seen.

======== ===================================================
file     what is in it
======== ===================================================
main     the application: a page, a question, and the stream
jobs     the worker that answers
======== ===================================================
"""

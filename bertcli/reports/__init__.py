"""Reports on stdout: a page for a person, JSON lines for a program.

lines       Line, and `show`, which writes a report one way or the other
evaluation  the page of `evaluate`
comparison  the page of `compare`
benchmark   the page and the JSON lines of `bench`
suspects    the file of `evaluate label --suspects FILE`
"""

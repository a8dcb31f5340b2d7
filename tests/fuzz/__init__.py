"""Whatever stands in a file, bertcli reads it, or says in a line or two what is wrong; it never crashes.

seeds.py      sound inputs, and what attackers put into them
targets.py    what must hold for the bytes of a case, one class a kind of input
test_fuzz.py  a few hundred cases of each with every run of the tests
__main__.py   as many as you have time for: `python -m tests.fuzz --cases 1000000`
"""

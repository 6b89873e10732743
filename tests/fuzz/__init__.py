"""Coverage-guided fuzzing of the places where bytes from outside are parsed.

Beside what hypothesis and schemathesis do in the rooms' own tests: those write what a grammar allows and slips of it,
and see only that an answer is wrong; here libFuzzer (atheris) keeps every input that ran a line or a comparison that
none ran before, and goes on from there. `python -m tests.fuzz TARGET --seconds N`, or `make fuzz`.

A target is a function of bytes (`records.py`, `files.py`, `doors.py`). It names the exceptions that are the documented
refusals; any other is a finding, and so is an answer that does not hold what was promised. `seeds.py` makes what it
begins with, out of valid inputs; `found.py` keeps what was found; `test_corpus.py` replays both without atheris.

Limits: of C (image codecs, pydantic, OpenSSL, Arrow) no coverage is seen, so that there it is mutation alone.
"""

"""A release that is broken on purpose, under load, and what becomes of it: `./mlops release demo`.

`faults` breaks a trained model, `versions` registers, signs and approves it like any other, `users` ask the real
service all the time, `trial` rolls it out and watches, `chart` and `report` show what was seen.
"""

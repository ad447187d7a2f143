"""`./mlops review`: what a change would do to each stack that it touches, without an account.

The base commit is registered with planning stand-ins, the head is previewed against it and judged; see docs/review.md.
"""

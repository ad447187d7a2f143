"""The error that training shows to people: one message that says what, where, what is allowed and what to do."""


class TrainingError(Exception):
    """Training refuses or fails for a reason that a person can act on; shown without a traceback."""

"""The audit ledger: who did what to which model, in a form that can't be rewritten unseen.

- `events`: the kinds of event, typed; `refusal` refuses values that must not be written down for ever.
- `chain`: how an event becomes an entry that holds the hash of the one before it.
- `store`: the entries in a SQL database (SQLite locally, PostgreSQL elsewhere); the only file that knows SQLAlchemy.
- `writer`: many threads, one commit.
- `checkpoint`: signed statements about the head of the chain; `checkpointer` makes them and keeps them somewhere else.
- `verification`: finds what was changed, dropped, reordered or cut off, and names the first bad entry.
- `serving`: what served at a time, who approved it, on which evidence.
- `export`: all of it as JSON Lines, which can be verified without the database.

Previews must never write: that is the duty of the caller, who alone knows that it is one.
"""

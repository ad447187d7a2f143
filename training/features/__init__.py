"""Features that are served by entity: built from raw tables, stored by Feast, joined as they were known at a time.

The same rows feed training (offline, Parquet) and serving (online, SQLite), so that both see the same values.
"""

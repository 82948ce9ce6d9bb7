"""The validation store: what fault campaigns measured, one row each, in SQLite or PostgreSQL.

SQLAlchemy and Alembic come with the extra `store`, the PostgreSQL driver with `postgres`; nothing here is imported
before a store is asked for. `rows.py` and `trends.py` are pure and need neither.
"""

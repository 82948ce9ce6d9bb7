"""OCI images below the engines: platforms, references, documents, layouts and registries.

Sources: the OCI image specification 1.1, the OCI distribution specification 1.1, and what Docker's and
BuildKit's clients and registries do where those leave room.
"""

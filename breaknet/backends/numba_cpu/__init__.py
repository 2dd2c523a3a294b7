"""The CPU backend; docs/cpu-backend.md names each file's job."""

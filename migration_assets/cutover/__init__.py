"""The end of a migration: checked, rehearsed, and done once.

`checks` says go or no-go and changes nothing; `rehearse` does all of it in a schema of its own;
`execute` does it. All end with the same certificate.
"""

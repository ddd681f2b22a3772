"""The log agent: it stands beside an application that only writes files, and says on stdout what they say.

One JSON record a line, with Cloud Logging's fields, as the service's own log has them. It needs read access to the
files and a place for its checkpoint, and nothing else.
"""

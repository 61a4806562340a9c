"""The built-in SSH (asyncssh): one connection for commands, pipes and routes to sockets.

asyncssh takes a quarter of a second to import, so its users are imported when a host is used.
"""

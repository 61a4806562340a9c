"""One SSH connection for everything: commands, pipes and ways to sockets.

asyncssh takes a quarter of a second to import, so its users are imported when a host is used.
"""

"""What Go and Python agree on: the names of the keys and the bytes of the messages. Pure functions, no I/O."""

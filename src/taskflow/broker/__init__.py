"""The only package that talks to Redis. Every operation takes a batch; one task is a batch of one."""

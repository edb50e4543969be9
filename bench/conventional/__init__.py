"""A conventional cloud beside which onestack is measured: made as peers make theirs.

The same upstream services of the same release, from the same environment, each from
its own console script (APIs: uWSGI), configured as the projects' installation guides say
and left at upstream's defaults otherwise. It is a bench and no product: its passwords are
fixed, and nobody reaches it from outside its network namespace.

Where it differs from what peers do, it is for its good, so that a ratio says too little rather
than too much: one worker where upstream takes one per core, no TLS and no proxy before the
APIs, no sudo before privileged commands (all runs as root), no pause anywhere; packages,
environment and web server are there already.

Everything that it makes is in one directory, and all that runs in one PID namespace, with
mounts and a network of its own: when its first process is killed, nothing is left but files.
"""

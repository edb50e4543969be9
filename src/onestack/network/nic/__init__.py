"""A NIC that the machine itself needs becomes the cloud's wire to the outside too.

The NIC becomes a port of a bridge of the kernel's, which has all that the NIC had, and a pair
of devices joins that bridge to the switch's. So the machine's own network hangs on nothing
that runs: not on the supervisor, not on the switch.

``facts`` is what the kernel has, ``words`` and ``plan`` turn that into commands and start none,
``fitness`` says which NIC cannot be moved, ``managers`` how each of those who configure a
machine's network is told, ``transaction`` does it with a way back, ``guardian`` goes that way
when nobody else does, ``sharing`` keeps several clouds from working on one NIC at once,
``operations`` is what the rest of the program uses.
"""

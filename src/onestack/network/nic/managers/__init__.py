"""Who configures the machine's network, and how each is told that a bridge has a NIC's place."""

"""Images for instances: fetching one, and building the test guest."""

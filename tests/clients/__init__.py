"""Programs that others wrote against OpenStack, unmodified, each against a cloud of onestack."""

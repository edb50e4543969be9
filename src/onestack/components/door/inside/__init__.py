"""What answers at the door (services' environment)."""

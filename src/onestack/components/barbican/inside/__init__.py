"""What runs where Barbican's code is (services' environment)."""

"""What the tests of real clouds share."""

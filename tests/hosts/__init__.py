"""Clouds of several hosts, made of namespaces."""

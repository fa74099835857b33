"""Finished values written in one format each; nothing here measures or accounts."""

"""Recipes: one experiment each, checked before anything is loaded."""

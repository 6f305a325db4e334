"""Models of who took what, without order."""

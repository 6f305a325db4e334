"""Models of logs whose items have domains: what a user does in one is carried over to another. One file each."""

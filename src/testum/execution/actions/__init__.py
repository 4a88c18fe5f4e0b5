"""What jobs do on a platform, by their kinds."""

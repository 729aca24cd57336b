"""Files in, files out: reading, writing, one job, many jobs. No window."""

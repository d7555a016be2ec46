"""The command line, `c3 COMMAND`: a file for each command, or for those that have one job."""

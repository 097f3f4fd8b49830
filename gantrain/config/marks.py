"""The first lines of files by which folders that gantrain wrote are recognised."""

# The beginning of the first line of a run's config.
RUN = "# A run of gantrain"

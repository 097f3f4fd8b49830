"""By what folders that gantrain wrote are recognised: first lines and names of files."""

# The beginning of the first line of a run's config.
RUN = "# A run of gantrain"
# The name of the file with a run's scalars.
LOG = "metrics.jsonl"

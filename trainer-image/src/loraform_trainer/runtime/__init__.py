"""What every stage uses: its context, paths, files, errors, progress and report."""

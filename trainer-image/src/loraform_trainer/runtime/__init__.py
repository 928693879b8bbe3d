"""Code that every stage uses: context, paths, files, errors, progress and report."""

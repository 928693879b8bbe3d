"""Stage `publish`: the artifact, whole in its store or absent."""

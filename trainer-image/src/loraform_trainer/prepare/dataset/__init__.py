"""The data set, layer by layer.

`from_sources` reads the files of sources and suites; `build` turns rows into a data set; `filter_rows` drops rows, by
`row_checks` one at a time and then by comparing them; `lengths` tokenises what is kept; `token_files` writes it.
"""

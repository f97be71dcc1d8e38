"""Measures the library against its peers, against itself without what makes it fast, and against the machine.

Each suite is a file, with a function `figures` that says what it measures; `figures` has the parts that they share,
`timing` the measuring, `work` the arithmetic that training needs, `report` the table and the picture.
"""

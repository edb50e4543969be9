"""A cloud's wiring with names for humans: who is plugged in where, in either layout.

`gathered` asks the services and the switch, `drawing` puts together what they say (`model`),
`judgement` finds what is not as it should be, and `tree` writes it down. All but `gathered` are
functions of plain data.
"""

"""The questions of JUMP-CP: are positive controls retrieved, and do genes match the compounds that target them?"""

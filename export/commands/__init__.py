"""What `python -m export` offers: arguments and options in, a call into the other rooms, a printed result out.

What is missing is said before torch is loaded. Imports `detector`, `classifier` and `common`; none of them imports it.
"""

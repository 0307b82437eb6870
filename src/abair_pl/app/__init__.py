"""``abair-pl app``: a page on which photographs are restored by hand."""

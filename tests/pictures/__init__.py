"""Pictures as the world makes them: members of each kind that a browser shows, byte by byte.

Each shows the chart in another way of saying the same, or says that the chart's numbers mean other
colours. ``recorded.json`` holds what Chromium shows of each.
"""

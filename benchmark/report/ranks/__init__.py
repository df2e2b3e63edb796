"""Who is ranked apart from whom, and how far an order can be believed: rank intervals, orders side by side, spread over seeds.

Knows boards and cells; compares rows of one board, or boards of several folders. Two models side by side: `report/compare/`.
"""

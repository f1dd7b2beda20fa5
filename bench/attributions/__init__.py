"""Attribution methods of others, from their papers, beside ours: the same model, grid, fill and number of passes."""
